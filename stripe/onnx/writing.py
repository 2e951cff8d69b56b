"""A changed network written back as ONNX, compared with its file in onnxruntime: outputs, size and speed."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from stripe.adapter import copy_model, isolated
from stripe.errors import StripeError
from stripe.files import write_whole
from stripe.onnx.emission import emit
from stripe.onnx.file import OnnxFile, onnx_package, read
from stripe.onnx.network import convert, run_onnx, verify
from stripe.onnx.preparation import prepare, session
from stripe.provenance import provenance

__all__ = ["Comparison", "compare", "write"]

ROUNDS = 10

LEAST = 0.05
"""Seconds that a network is measured for in each round, at least."""


@dataclass(frozen=True)
class Comparison:
    """Two ONNX files beside each other, as onnxruntime runs them on the CPU.

    Attributes:
        error: ‖ŷ − y‖ / ‖y‖ of all outputs of all images.
        nodes: The number of nodes of either.
        bytes: The size of either file.
        images_per_second: The median speed of either.
        speed: The median over the rounds of the second's speed divided by the first's.
    """

    error: float
    nodes: tuple[int, int]
    bytes: tuple[int, int]
    images_per_second: tuple[float, float]
    speed: float


@isolated()
def write(
    network: nn.Module, file: OnnxFile, path: str | Path, images: Tensor, *, meta: Mapping[str, Any] | None = None
) -> float:
    """Write what became of a file's network as ONNX: its nodes as they were, with the weights that they have now.

    Inputs, outputs, operators, the opset, what the file says of itself and axes of any length stay. What is written is
    run in onnxruntime, and kept only where it computes what the network computes.

    Args:
        network: A network of ``stripe.onnx.load`` that was folded; not changed.
        file: The file that it was loaded from.
        path: Where to; replaced where it exists, untouched where an error is raised.
        images: Float32 (N, C, H, W), N ≥ 2, to compare on.
        meta: What is known of the network, ready for JSON; it becomes the property ``stripe`` of the file.

    Returns:
        The largest absolute difference of an output between the network and what was written.

    Raises:
        StripeError: The network is none of this file, has something that is not written, or computes something else.
    """
    if not isinstance(network, fx.GraphModule):
        raise StripeError(f"a {type(network).__name__} is no network of {file.path} that could be written back")
    onnx, prepared = onnx_package("onnx"), prepare(file)
    changed = copy_model(network).cpu().eval()
    model = emit(changed, convert(prepared, file), prepared)
    del model.metadata_props[:]
    model.metadata_props.extend(each for each in file.proto.metadata_props if each.key != "stripe")
    record = json.dumps({**(meta or {}), "provenance": provenance()})
    onnx.helper.set_model_props(model, {**{p.key: p.value for p in model.metadata_props}, "stripe": record})
    model.producer_name, model.doc_string = "stripe", file.proto.doc_string
    written = replace(file, path=Path(path), proto=model)
    difference = verify(changed, written, images)
    write_whole(Path(path), model.SerializeToString())
    return difference


@isolated()
def compare(first: str | Path, second: str | Path, images: Tensor) -> Comparison:
    """Run two files of one network in onnxruntime, in turns.

    Args:
        first: The original.
        second: What became of it.
        images: Float32 (N, C, H, W), a batch for both.

    Raises:
        StripeError: A file cannot be read or does not run.
    """
    files = [read(path) for path in (first, second)]
    sessions = [session(file.proto, file.path) for file in files]
    try:
        wanted, found = (run_onnx(each, file, images) for each, file in zip(sessions, files, strict=True))
    except Exception as error:  # onnxruntime raises a class for each of its states
        raise StripeError(f"{first} and {second} do not both run with such images ({error})") from error
    if [part.shape for part in wanted] != [part.shape for part in found]:
        raise StripeError(f"the outputs of {first} and {second} have other shapes")
    off = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in zip(found, wanted, strict=True))
    whole = sum(float(np.square(a.astype(np.float64)).sum()) for a in wanted)
    seconds = _take_turns(sessions, files, images)
    rates = len(images) / seconds
    before, after = np.median(rates, axis=0).tolist()
    return Comparison(
        float(np.sqrt(off / whole)) if whole else float(off > 0),
        (len(files[0].proto.graph.node), len(files[1].proto.graph.node)),
        (Path(first).stat().st_size, Path(second).stat().st_size),
        (before, after),
        float(np.median(rates[:, 1] / rates[:, 0])),
    )


def _take_turns(sessions: Sequence[Any], files: Sequence[OnnxFile], images: Tensor) -> Any:
    """Seconds per pass, (rounds, sessions)."""

    def seconds(number: int, passes: int) -> float:
        start = time.perf_counter()
        for _ in range(passes):
            run_onnx(sessions[number], files[number], images)
        return (time.perf_counter() - start) / passes

    numbers = range(len(sessions))
    passes = [max(1, round(LEAST / seconds(number, 1))) for number in numbers]
    return np.array([[seconds(number, passes[number]) for number in numbers] for _ in range(ROUNDS)])
