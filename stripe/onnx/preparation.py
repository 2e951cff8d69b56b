"""A file's network as a converter takes it: constants computed, float32, any number of images, a name for each node."""

import re
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from stripe.errors import StripeError
from stripe.onnx.file import OnnxFile, graphs_of, onnx_package, tensors_of

__all__ = ["prepare", "session"]

# They change weights; what is written back should be the file's own.
_FUSIONS = ["ConvBNFusion", "ConvMulFusion", "ConvAddFusion", "MatMulAddFusion", "PadFusion"]
_OTHER_FLOATS = ("FLOAT16", "BFLOAT16", "DOUBLE")


def prepare(file: OnnxFile) -> Any:
    """The network of a file with its constants computed; its operators and their order stay.

    Returns:
        An ``onnx.ModelProto`` of the file's opset, with weights in float32, whose nodes have unique names that can be
        those of modules.

    Raises:
        StripeError: onnxruntime does not take the network.
    """
    onnx = onnx_package("onnx")
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    held = {tensor.name for tensor in proto.graph.initializer}
    for given in [each for each in proto.graph.input if each.name in held]:
        proto.graph.input.remove(given)
    _as_float32(proto)
    del proto.graph.value_info[:]
    if file.images.batch is not None:
        for value in (*proto.graph.input, *proto.graph.output):
            dims = value.type.tensor_type.shape.dim
            if dims and dims[0].dim_value == file.images.batch:
                dims[0].dim_param = "N"
    proto = _constants_computed(proto, file.path)
    if file.images.batch is not None:
        _free_batch(proto, file.images.batch)
    _without_zero_sizes(proto)
    for node in proto.graph.node:
        while node.input and not node.input[-1]:  # not given, as if it were not there
            node.input.pop()
    _name(proto)
    return proto


def session(proto: Any, source: Any, *, write: Path | None = None) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU, on as many threads as torch computes with.

    Args:
        proto: The network.
        source: The file that it is of, for the message.
        write: Where to write the network with its constants computed; None: all optimisations, nothing is written.

    Raises:
        StripeError: onnxruntime does not take the network.
    """
    import torch

    runtime = onnx_package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    if write:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(write)
    try:
        return runtime.InferenceSession(
            proto.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=_FUSIONS if write else None,
        )
    except Exception as error:  # onnxruntime raises a class for each of its states
        reason = re.sub(r"\s+", " ", str(error)).removeprefix("[ONNXRuntimeError] : ")
        raise StripeError(f"{source}: onnxruntime does not take the network ({reason[:200]})") from error


def _constants_computed(proto: Any, path: Path) -> Any:
    onnx = onnx_package("onnx")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "network.onnx"
        session(proto, path, write=written)
        computed = onnx.load(written)
    for theirs, ours in (  # onnxruntime has its own idea of them
        (computed.opset_import, proto.opset_import),
        (computed.graph.input, proto.graph.input),
        (computed.graph.output, proto.graph.output),
    ):
        del theirs[:]
        theirs.extend(ours)
    return computed


def _as_float32(proto: Any) -> None:
    """Compute in float32 what a file computes in float16, bfloat16 or float64, in place."""
    onnx = onnx_package("onnx")
    single, others = onnx.TensorProto.FLOAT, {getattr(onnx.TensorProto, name) for name in _OTHER_FLOATS}
    for tensor in tensors_of(proto):
        if tensor.data_type in others:
            values = onnx.numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for graph in graphs_of(proto.graph):
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in others:
                value.type.tensor_type.elem_type = single
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.name in ("to", "dtype") and attribute.i in others:
                    attribute.i = single


def _free_batch(proto: Any, batch: int) -> None:
    """Let networks that were exported for so many images take others, in place, where a reshape says their number."""
    onnx = onnx_package("onnx")
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (
            *onnx.shape_inference.infer_shapes(fixed).graph.value_info,
            *fixed.graph.input,
        )
    }
    held = {tensor.name: tensor for tensor in proto.graph.initializer}
    for number, node in enumerate(proto.graph.node):
        if node.op_type != "Reshape" or node.input[1] not in held:
            continue
        sizes = onnx.numpy_helper.to_array(held[node.input[1]]).copy()
        before = shapes.get(node.input[0]) or [0]
        if not len(sizes) or sizes[0] <= 0:
            continue
        if -1 not in sizes:
            sizes[0] = -1
        elif sizes[0] == before[0] == batch:
            sizes[0] = 0
        else:
            continue
        name = f"{node.input[1]}_of_{number}"
        proto.graph.initializer.append(onnx.numpy_helper.from_array(sizes, name))
        node.input[1] = name


def _without_zero_sizes(proto: Any) -> None:
    """Reshapes to an axis of no elements are allowed by exporters, and needed by none: here 0 keeps a size."""
    onnx = onnx_package("onnx")
    held = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        allows = [attribute for attribute in node.attribute if attribute.name == "allowzero"]
        sizes = held.get(node.input[1]) if allows else None
        if allows and (sizes is None or 0 not in onnx.numpy_helper.to_array(sizes)):
            node.attribute.remove(allows[0])


def _name(proto: Any) -> None:
    """Give every node a name of its own that a module can have, in place."""
    taken = {tensor.name for tensor in proto.graph.initializer} | {"initializers", "code", "graph", "meta", "training"}
    for node in proto.graph.node:
        plain = re.sub(r"\W+", "_", node.name).strip("_") or node.op_type
        plain = f"{node.op_type}_{plain}" if plain[0].isdigit() else plain
        name, number = plain, 0
        while name in taken or hasattr(nn.Module, name):
            number += 1
            name = f"{plain}_{number}"
        taken.add(name)
        node.name = name
