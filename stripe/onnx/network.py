"""From an ONNX file to a PyTorch module, and the proof that both compute the same."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from stripe.adapter import isolated
from stripe.errors import StripeError
from stripe.onnx.file import OnnxFile, onnx_package
from stripe.onnx.modules import SamePad
from stripe.onnx.operators import converter_of, mended, refuse_unknown, register
from stripe.onnx.preparation import prepare, session

__all__ = ["CHANNELS_LAST", "PAD", "convert", "load", "run_onnx", "take", "verify"]

CHANNELS_LAST = "channels_last"
"""The name of the module that makes images (N, H, W, C) for a network that takes these."""

PAD = "_pad"
"""What follows a node's name in that of the module which pads for it."""

TOLERANCE = 1e-4
"""The largest difference, relative to the largest output, that other kernels may make."""

SMALLEST = 1e-6
"""An absolute difference that may be, where all outputs are close to 0."""

_SAME = ("SAME_UPPER", "SAME_LOWER")


@isolated()
def load(file: OnnxFile) -> fx.GraphModule:
    """The network of a file, from images (N, C, H, W) to what the file returns, in evaluation mode.

    Each node of the file is a module of its own, under its name there (letters, digits and underscores of it). Weights
    are float32. The number of images is free also where the file fixes it, unless the network is built on it.

    Args:
        file: As ``stripe.onnx.read`` gives it.

    Returns:
        The network on the CPU. One output is a tensor, several are a tuple.

    Raises:
        StripeError: Something in the file cannot be converted; the message names the operator and the node.
    """
    return convert(prepare(file), file)


def convert(proto: Any, file: OnnxFile) -> fx.GraphModule:
    """As ``load``, for a file that is prepared."""
    register()
    onnx = onnx_package("onnx")
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    refuse_unknown(plain, file.path)
    _bound(plain)
    pads = _explicit_pads(plain, file)
    with _quiet():
        try:
            network: fx.GraphModule = onnx_package("onnx2torch").convert(plain, attach_onnx_mapping=True)
        except Exception as error:  # the converter raises whatever a node makes it
            raise StripeError(f"{file.path}: {_culprit(plain, error)}") from error
    for name, module in list(network.named_children()):
        setattr(network, name, mended(module))
    for tensor in (*network.parameters(), *network.buffers()):  # memory of their own, and not the file's
        tensor.data = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    graph = network.graph
    for name, pad in pads.items():
        network.add_submodule(f"{name}{PAD}", pad)
        node = next(node for node in graph.nodes if node.op == "call_module" and node.target == name)
        with graph.inserting_before(node):
            node.replace_input_with(node.args[0], graph.call_module(f"{name}{PAD}", (node.args[0],)))
    _name_outputs(network, plain, file)
    if file.images.channels_last:
        network.add_submodule(CHANNELS_LAST, _ChannelsLast())
        images = next(node for node in graph.nodes if node.op == "placeholder")
        with graph.inserting_after(images):
            moved = graph.call_module(CHANNELS_LAST, (images,))
        images.replace_all_uses_with(moved, delete_user_cb=lambda user: user is not moved)
    graph.eliminate_dead_code()
    graph.lint()
    network.recompile()
    network.eval()
    return network


@isolated()
def verify(network: nn.Module, file: OnnxFile, images: Tensor) -> float:
    """Make sure that a network computes what onnxruntime computes of the file.

    Args:
        network: As ``load`` gives it.
        file: The file that it is of.
        images: Two images or more, float32 (N, C, H, W).

    Returns:
        The largest absolute difference of an output.

    Raises:
        StripeError: The network does not run with such images, or computes something else.
    """
    runtime = session(file.proto, file.path)
    try:
        wanted = run_onnx(runtime, file, images)
    except Exception as error:  # onnxruntime raises a class for each of its states
        size = f"{images.shape[-2]} × {images.shape[-1]}"
        raise StripeError(
            f"{file.path}: the network does not run with images of {size} pixels; say theirs with image_size "
            "(--image-size on the command line)"
        ) from error
    try:
        with torch.no_grad():
            found = network(images)
    except Exception as error:  # whatever a converted operator raises
        raise StripeError(f"{file.path}: {_does_not_run(network, file, images, error)}") from error
    found = [found] if isinstance(found, Tensor) else list(found)
    largest = 0.0
    for name, ours, theirs in zip(file.outputs, found, wanted, strict=True):
        if tuple(ours.shape) != theirs.shape:
            raise StripeError(
                f"{file.path}: the converted network returns {name} of the shape {tuple(ours.shape)}, onnxruntime of "
                f"{theirs.shape}{_of_batch(file)}"
            )
        difference, relative = _difference(ours.numpy(), theirs)
        if not (relative <= TOLERANCE or difference <= SMALLEST):  # NaN is neither
            raise StripeError(
                f"{file.path}: the output {name} of the converted network is {relative:.1e} (relative) off that of "
                f"onnxruntime, more than {TOLERANCE:.0e}{_of_batch(file)}"
            )
        largest = max(largest, difference)
    return largest


def run_onnx(runtime: Any, file: OnnxFile, images: Tensor) -> list[npt.NDArray[Any]]:
    """The outputs of a session for images (N, C, H, W), as many at once as the file takes."""
    fed = images.permute(0, 2, 3, 1) if file.images.channels_last else images
    taken = runtime.get_inputs()[0]
    dtype = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(taken.type, np.float32)
    array = np.ascontiguousarray(fed.numpy().astype(dtype))
    step = taken.shape[0] if isinstance(taken.shape[0], int) else len(array)
    parts = [runtime.run(None, {taken.name: array[start : start + step]}) for start in range(0, len(array), step)]
    return [part[0] if len(part) == 1 else np.concatenate(part) for part in zip(*parts, strict=True)]


def _difference(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> tuple[float, float]:
    """The largest difference, and that relative to the largest number; NaN where others are finite."""
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(theirs)
    if not np.array_equal(np.isfinite(ours), finite):
        return float("nan"), float("nan")
    if not finite.any():
        return 0.0, 0.0
    largest, scale = float(np.abs(ours[finite] - theirs[finite]).max()), float(np.abs(theirs[finite]).max())
    return largest, largest / (scale or 1)


def _bound(proto: Any) -> None:
    """Give a lower bound to each ``Clip`` that has an upper one alone, in place, as the converter wants it."""
    onnx = onnx_package("onnx")
    lowest = next(f"lowest{'_' * number}" for number in range(9) if not _holds(proto, f"lowest{'_' * number}"))
    for node in proto.graph.node:
        if node.op_type == "Clip" and len(node.input) > 2 and not node.input[1]:
            if not _holds(proto, lowest):
                values = np.array(-np.inf, np.float32)
                proto.graph.initializer.append(onnx.numpy_helper.from_array(values, lowest))
            node.input[1] = lowest


def _holds(proto: Any, name: str) -> bool:
    return any(tensor.name == name for tensor in proto.graph.initializer)


def _explicit_pads(proto: Any, file: OnnxFile) -> dict[str, SamePad]:
    """Take ``auto_pad`` out of a model, in place; what pads instead, by the name of its node."""
    found: dict[str, SamePad] = {}
    for node in proto.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        auto = attributes["auto_pad"].s.decode() if "auto_pad" in attributes else "NOTSET"
        if auto not in _SAME:
            continue
        kernel = list(attributes["kernel_shape"].ints) if "kernel_shape" in attributes else _kernel(proto, node)
        stride, dilation = (
            list(attributes[name].ints) if name in attributes else [1] * len(kernel)
            for name in ("strides", "dilations")
        )
        totals = [(size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
        node.attribute.remove(attributes["auto_pad"])
        if set(stride) == {1} and not any(total % 2 for total in totals) and node.op_type != "ConvTranspose":
            half = [total // 2 for total in totals]
            node.attribute.append(onnx_package("onnx").helper.make_attribute("pads", half + half))
        elif node.op_type in ("Conv", "MaxPool") and not _ceils(attributes):
            value = float("-inf") if node.op_type == "MaxPool" else 0.0
            found[node.name] = SamePad(kernel, stride, dilation, lower=auto == "SAME_LOWER", value=value)
        else:
            raise StripeError(
                f"{file.path}: the operator {node.op_type} (node {node.name}) with auto_pad={auto} cannot be converted "
                "to PyTorch"
            )
    return found


def _ceils(attributes: dict[str, Any]) -> bool:
    return "ceil_mode" in attributes and bool(attributes["ceil_mode"].i)


def _kernel(proto: Any, node: Any) -> list[int]:
    weight = next((tensor for tensor in proto.graph.initializer if tensor.name == node.input[1]), None)
    return [] if weight is None else list(weight.dims[2:])


def _name_outputs(network: fx.GraphModule, proto: Any, file: OnnxFile) -> None:
    """Return each of the file's outputs, in their order."""
    graph = network.graph
    makers = {name: (node, place) for node in proto.graph.node for place, name in enumerate(node.output)}
    calls = {node.target: node for node in graph.nodes if node.op == "call_module"}
    final = next(node for node in graph.nodes if node.op == "output")
    values = []
    for output in proto.graph.output:
        if output.name not in makers:
            raise StripeError(f"{file.path}: the output {output.name} does not depend on the images")
        node, place = makers[output.name]
        value = calls[node.name]
        if len(node.output) > 1:
            with graph.inserting_before(final):
                value = graph.call_function(take, (value, place))
        values.append(value)
    final.args = (values[0] if len(values) == 1 else tuple(values),)


def take(values: Any, place: int) -> Any:
    """One of the outputs of a node that has several."""
    return values[place]


class _ChannelsLast(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1)


def _culprit(proto: Any, error: Exception) -> str:
    """Which node it is that cannot be converted."""
    graph = onnx_package("onnx2torch.onnx_graph").OnnxGraph(_with_shapes(proto).graph)
    versions = {each.domain: each.version for each in proto.opset_import}
    for node in graph.nodes.values():
        try:
            converter_of(node.domain, node.operation_type, versions[node.domain])(node, graph)
        except Exception as reason:  # as above
            said = str(reason).strip().splitlines()[:1] or [type(reason).__name__]
            return f"the operator {node.operation_type} (node {node.name}) cannot be converted to PyTorch ({said[0]})"
    return f"the network cannot be converted to PyTorch ({type(error).__name__}: {error})"


def _with_shapes(proto: Any) -> Any:
    return onnx_package("onnx2torch.utils.safe_shape_inference").safe_shape_inference(proto)


def _does_not_run(network: nn.Module, file: OnnxFile, images: Tensor, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if file.images.batch is not None:
        try:
            with torch.no_grad():
                network(images[: file.images.batch])
        except Exception:  # then it is not the number
            pass
        else:
            return (
                f"the network is built on batches of {file.images.batch} ({reason}); export it with a batch axis of "
                "any length"
            )
    return f"the converted network does not run ({reason})"


def _of_batch(file: OnnxFile) -> str:
    if file.images.batch is None:
        return ""
    return f"; the file fixes the number of images to {file.images.batch}: export it with a batch axis of any length"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks of the converter."""
    logger = logging.getLogger("onnx2torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
