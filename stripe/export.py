"""Networks for other runtimes, ONNX and torch.export: each is run, and compared with the network that it came from."""

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
"""Kind of export → how its files end."""

LARGEST_ONNX = 2**31
"""Bytes: what one protobuf message, and so an ONNX file with its weights inside, can hold."""

_TALKERS = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Difference:
    """How far the outputs of two networks are from each other.

    Attributes:
        dtype: The precision in which they were computed, as ``float64``.
        largest: The largest absolute difference.
        relative: That, divided by the largest absolute output.
    """

    dtype: str
    largest: float
    relative: float


@isolated()
def compare(model: nn.Module, fused: nn.Module, images: Tensor, dtype: torch.dtype) -> Difference:
    """The largest difference between two networks' outputs for the same images, in evaluation mode.

    Args:
        model: A network; not changed.
        fused: Another; not changed.
        images: (N, 3, H, W), floating point.
        dtype: What to compute in; parameters are converted as they are.

    Raises:
        StripeError: They do not run, or return no tensors, or not finite ones.
    """
    outputs = []
    for network in (model, fused):
        converted = copy_model(network).to(dtype).eval()
        with torch.no_grad():
            result = run(converted, batch_of(images.to(dtype), converted))
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
    """Write a network for another runtime, run that, and keep the file only where the outputs are the same.

    The file takes any number of images, computes in evaluation mode, and says what made it: the ONNX property
    ``stripe``, the extra file ``stripe.json`` of a torch.export archive. ONNX computes with other kernels, which round
    differently (some 1e-6); a torch.export program with the same ones.

    Args:
        model: From images (N, 3, H, W) to a tensor, or to something that holds one under its usual name (``logits``),
            which alone is exported; not changed. Fuse it before.
        images: What to trace and to compare with, float32 (N, 3, H, W) with N ≥ 2.
        path: Where to; replaced where it exists, untouched where an error is raised.
        kind: ``"onnx"`` (checked with onnxruntime on the CPU) or ``"torch"`` (torch.export).
        meta: What is known about the network, ready for JSON; written into the file.
        tolerance: Largest permitted difference, relative to the largest output.

    Returns:
        How far the outputs are apart.

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
        if not difference.relative <= tolerance:  # NaN is not
            raise StripeError(
                f"the {kind} export's outputs differ by {difference.relative:.1e} (relative), more than "
                f"{tolerance:.1e}; nothing is written"
            )
        unfinished.replace(path)
    except OSError as error:
        raise StripeError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it was renamed, or its folder could not be made
            unfinished.unlink()
    return difference


class _Scores(nn.Module):
    """A network whose only output is its scores."""

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


# kind → how it is written, and how it is read again
_KINDS: dict[str, tuple[Callable[[nn.Module, Tensor, Path, str], None], Callable[[Path], Network]]] = {
    "onnx": (_write_onnx, _load_onnx),
    "torch": (_write_torch, _load_torch),
}


def _traced(network: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _difference(network: nn.Module, exported: Network, images: Tensor) -> Difference:
    """Over all images at once, and over the first alone: their number must not have been taken for a constant."""
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
    """Keep the exporters' remarks to themselves, and turn whatever they raise into one sentence."""
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
