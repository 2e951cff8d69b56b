"""Small ONNX files, written node by node."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx2torch")

Shape = Sequence[int | str]


def weights(seed: int = 0, channels: int = 8) -> dict[str, Any]:
    """Of a network with a gate: a convolution, squeeze-and-excitation, and another convolution."""
    draw = np.random.default_rng(seed).normal
    shapes = {"w1": (channels, 3, 3, 3), "b1": (channels,), "w2": (channels, channels, 1, 1), "w3": (4, channels, 1, 1)}
    return {name: draw(size=shape).astype(np.float32) / 3 for name, shape in shapes.items()}


def node(kind: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> Any:
    """A node whose inputs and outputs are given as words."""
    return onnx.helper.make_node(kind, inputs.split(), outputs.split(), name=name, **attributes)


def gated_nodes(**convolution: Any) -> list[Any]:
    """conv → relu → ⊙ sigmoid(conv(GAP)) → conv → GAP → (N, 4)."""
    convolution = convolution or {"pads": [1, 1, 1, 1]}
    return [
        node("Conv", "x w1 b1", "a", "stem", **convolution),
        node("Relu", "a", "b", "relu"),
        node("GlobalAveragePool", "b", "c", "squeeze"),
        node("Conv", "c w2", "d", "excite"),
        node("Sigmoid", "d", "e", "sigmoid"),
        node("Mul", "b e", "f", "/block/se/Mul"),
        node("Conv", "f w3", "g", "head"),
        node("GlobalAveragePool", "g", "h", "pool"),
        node("Flatten", "h", "y", "flat"),
    ]


def save(
    path: Path,
    nodes: Sequence[Any],
    *,
    constants: Mapping[str, Any] | None = None,
    images: Shape = ("n", 3, "h", "w"),
    outputs: Mapping[str, Shape] | None = None,
    opset: int = 17,
    dtype: int = 1,
    more: Sequence[Any] = (),
    domains: Sequence[tuple[str, int]] = (),
) -> Path:
    """Write a file; ``more`` are further inputs."""
    tensors = [
        onnx.numpy_helper.from_array(np.asarray(value), name)
        for name, value in (weights() if constants is None else constants).items()
    ]
    value_info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        list(nodes),
        "network",
        [value_info("x", dtype, list(images)), *more],
        [value_info(name, dtype, list(shape)) for name, shape in (outputs or {"y": ("n", 4)}).items()],
        tensors,
    )
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in (("", opset), *domains)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, path)
    return path
