"""Export of networks to ONNX and torch.export: each file is run and compared with the original network."""

import importlib
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stripe.adapter import batch_of, copy_model, isolated, logits_of, run
from stripe.errors import StripeError
from stripe.provenance import provenance

__all__ = ["EXPORTS", "LARGEST_ONNX", "Difference", "compare", "export", "require"]

EXPORTS = {"onnx": ".onnx", "torch": ".pt2"}
"""Ending of the files for each kind of export."""

LARGEST_ONNX = 2**31
"""Largest size in bytes of a protobuf message, and so of an ONNX file that includes its weights."""

_TALKERS = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Difference:
    """Difference between the outputs of two networks.

    Attributes:
        dtype: Precision in which the outputs were computed, such as ``float64``.
        largest: Largest absolute difference.
        relative: Largest absolute difference, divided by the largest absolute output.
    """

    dtype: str
    largest: float
    relative: float


@isolated()
def compare(model: nn.Module, fused: nn.Module, images: Tensor | list[Tensor], dtype: torch.dtype) -> Difference:
    """Compute the largest difference between the outputs of two networks for the same images, in evaluation mode.

    Args:
        model: A network; it is not changed.
        fused: The network to compare with; it is not changed.
        images: Images (N, 3, H, W) of a floating-point type, or a list of images (3, H, W).
        dtype: Precision of the computation, to which copies of the parameters are converted.

    Raises:
        StripeError: A network does not run, does not return a tensor, or returns values that are not finite.
    """
    outputs = []
    for network in (model, fused):
        converted = copy_model(network).to(dtype).eval()
        with torch.no_grad():
            result = run(converted, batch_of(images, converted).map(lambda each: each.to(dtype)))
        output = logits_of(result)
        if output is None:
            raise StripeError(f"the model returns a {type(result).__name__}; only a tensor can be compared")
        if not output.isfinite().all():
            raise StripeError("the model's outputs are not all finite, so nothing can be said about their difference")
        outputs.append(output.double())
    largest = float((outputs[0] - outputs[1]).abs().max())
    scale = float(outputs[0].abs().max())
    return Difference(str(dtype).removeprefix("torch."), largest, largest / scale if scale else largest)


@isolated()
def export(
    model: nn.Module,
    images: Tensor,
    path: str | Path,
    *,
    kind: str,
    meta: Mapping[str, Any] | None = None,
    tolerance: float = 1e-5,
) -> Difference:
    """Write a network for another runtime, run the file, and keep it only if the outputs are the same.

    The exported network takes any number of images and computes in evaluation mode. Its provenance is in the ONNX
    property ``stripe``, or in the extra file ``stripe.json`` of a torch.export archive. ONNX computes with other
    kernels, which round differently (about 1e-6); a torch.export program uses the same ones.

    Args:
        model: A network from images (N, 3, H, W) to a tensor, or to an object that holds a tensor under its usual name
            (``logits``), which alone is exported. It is not changed. Fuse it before.
        images: Images for tracing and for the comparison, float32 (N, 3, H, W) with N ≥ 2.
        path: Path of the file. An existing file is replaced, or left unchanged if an error is raised.
        kind: Kind of export: ``"onnx"`` (checked with onnxruntime on the CPU) or ``"torch"`` (torch.export).
        meta: Description of the network in JSON types, which is written into the file.
        tolerance: Largest permitted difference, relative to the largest output.

    Returns:
        The difference between the outputs.

    Raises:
        StripeError: A package is missing, the network cannot be exported, the outputs differ, or the file cannot be
            written.

    Example:
        >>> from stripe.models import build
        >>> export(build("resnet11"), torch.randn(4, 3, 32, 32), "/tmp/resnet11.pt2", kind="torch").largest
        0.0
    """
    if kind not in EXPORTS:
        raise StripeError(f"there is no export of kind {kind!r}; there are {', '.join(EXPORTS)}")
    if len(images) < 2:
        raise StripeError("an export is traced and compared with two images or more")
    write, load = _KINDS[kind]
    network = copy_model(model).cpu().eval().requires_grad_(False)
    images = images.cpu().clone()
    with torch.no_grad():
        output = run(network, batch_of(images, network))
    if isinstance(output, list) and all(isinstance(found, Mapping) for found in output):
        raise StripeError(
            f"a {type(model).__name__} is a detector, whose number of boxes depends on the images, and is not "
            "exported; its weights load into the same network of torchvision"
        )
    if not isinstance(output, Tensor):
        if logits_of(output) is None:
            raise StripeError(f"the model returns a {type(output).__name__}; only a tensor can be exported")
        network = _Scores(network)
    record = json.dumps({**(meta or {}), "provenance": provenance()})
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{EXPORTS[kind]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _exporting(kind):
            write(network, images, unfinished, record)
            exported = load(unfinished)
            difference = _difference(network, exported, images)
        if not difference.relative <= tolerance:  # so written because NaN must be refused, too
            raise StripeError(
                f"the {kind} export's outputs differ by {difference.relative:.1e} (relative), more than "
                f"{tolerance:.1e}; nothing is written"
            )
        unfinished.replace(path)
    except OSError as error:
        raise StripeError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it has its own name now, or its folder could not be made
            unfinished.unlink()
    return difference


class _Scores(nn.Module):
    """A network whose only output is its logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor | None:
        return logits_of(self.network(images))


def _write_torch(network: nn.Module, images: Tensor, path: Path, record: str) -> None:
    torch.export.save(_traced(network, images), path, extra_files={"stripe.json": record})


def _load_torch(path: Path) -> Network:
    loaded: Network = torch.export.load(path).module()
    return loaded


def _write_onnx(network: nn.Module, images: Tensor, path: Path, record: str) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "an ONNX export", "export")
    if sum(tensor.nbytes for tensor in network.state_dict().values()) >= LARGEST_ONNX:
        raise StripeError("a network of 2 GiB or more does not fit into one ONNX file; export it for torch")
    program = torch.onnx.export(
        _traced(network, images), dynamo=True, input_names=["images"], output_names=["outputs"], verbose=False
    )
    assert program is not None
    program.model.metadata_props["stripe"] = record
    program.save(path, external_data=False)


def _load_onnx(path: Path) -> Network:
    runtime = require("onnxruntime", "an ONNX export", "export")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: images.numpy()})[0])

    return run


# For each kind, a function that writes it and one that reads it again.
_KINDS: dict[str, tuple[Callable[[nn.Module, Tensor, Path, str], None], Callable[[Path], Network]]] = {
    "onnx": (_write_onnx, _load_onnx),
    "torch": (_write_torch, _load_torch),
}


def _traced(network: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _difference(network: nn.Module, exported: Network, images: Tensor) -> Difference:
    """Compare all images at once, and the first alone: the export must not fix the number of images."""
    largest, scale = 0.0, 0.0
    for batch in (images, images[:1]):
        with torch.no_grad():
            wanted = network(batch.clone())
        got = exported(batch.clone())
        if got.shape != wanted.shape:
            raise StripeError(f"the export's outputs have the shape {tuple(got.shape)}, not {tuple(wanted.shape)}")
        if not wanted.isfinite().all():
            raise StripeError("the model's outputs are not all finite, so nothing can be said about an export")
        largest = max(largest, float((got.detach().double() - wanted.double()).abs().max()))
        scale = max(scale, float(wanted.double().abs().max()))
    return Difference(str(images.dtype).removeprefix("torch."), largest, largest / scale if scale else largest)


@contextmanager
def _exporting(kind: str) -> Iterator[None]:
    """A context that silences the exporters, and turns whatever they raise into one sentence."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (StripeError, OSError):
        raise
    except Exception as error:  # exporters raise whatever the network makes them
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise StripeError(f"this network cannot be exported ({kind}): {type(error).__name__}: {reason}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def require(package: str, purpose: str, extra: str) -> Any:
    """Import a package that not everybody needs.

    Args:
        package: The name under which it is imported.
        purpose: What needs it, for the message.
        extra: The extra of this project that installs it.

    Raises:
        StripeError: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = package.partition(".")[0]
        raise StripeError(
            f"{purpose} needs {missing}, which is not installed: pip install 'stripe-observation[{extra}]'"
        ) from error
