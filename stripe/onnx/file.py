"""ONNX files of others: what they hold, what they say of their images, and what is refused in them.

Reading runs nothing of a file: operators outside ONNX's own are refused, and weights beside it are looked for in its
own folder alone.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stripe.errors import StripeError
from stripe.export import LARGEST_ONNX, require

__all__ = ["OnnxFile", "Tensors", "graphs_of", "onnx_package", "read"]

_OWN_DOMAINS = ("", "ai.onnx")
_QUANTIZED = frozenset({"ConvInteger", "MatMulInteger", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_FLOATS = frozenset({"FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"})
_COLOURS = (1, 3)


@dataclass(frozen=True)
class Tensors:
    """What a file says of a network's images.

    Attributes:
        name: The name of the input.
        batch: The number of images, where the file fixes it; else None.
        channels: The number of channels, where the file says it; else None.
        size: Height and width in pixels, each None where the file leaves it open.
        channels_last: Whether the images are (N, H, W, C), as those of TensorFlow are; else (N, C, H, W).
    """

    name: str
    batch: int | None
    channels: int | None
    size: tuple[int | None, int | None]
    channels_last: bool


@dataclass(frozen=True)
class OnnxFile:
    """A network in an ONNX file.

    Attributes:
        path: The file.
        sha256: Its hash, in hexadecimal digits; weights that lie beside it are not in it.
        images: What it says of its images.
        outputs: The names of its outputs.
        proto: The ``onnx.ModelProto``, with all its weights.
    """

    path: Path
    sha256: str
    images: Tensors
    outputs: tuple[str, ...]
    proto: Any = field(repr=False)


def onnx_package(name: str) -> Any:
    """One of the packages of the extra ``onnx``.

    Raises:
        StripeError: It is not installed.
    """
    return require(name, "reading a network from an ONNX file", "onnx")


def read(path: str | Path) -> OnnxFile:
    """Read a network of images from an ONNX file.

    Args:
        path: The file, of less than 2 GiB with its weights; those may lie in files beside it.

    Raises:
        StripeError: There is no such file, it is no ONNX file or is damaged, it is quantized, takes something else than
            one batch of images, has operators that are not ONNX's own, or its weights lie outside its folder.
    """
    onnx = onnx_package("onnx")
    path = Path(path)
    if not path.exists():
        raise StripeError(f"{path}: there is no such file")
    if not path.is_file():
        raise StripeError(f"{path} is no file")
    if path.stat().st_size >= LARGEST_ONNX:
        raise StripeError(f"{path}: networks of 2 GiB or more cannot be read from ONNX files")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StripeError(f"{path} cannot be read: {error.strerror or error}") from error
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except Exception as error:  # protobuf's own, whose class differs between its versions
        raise StripeError(f"{path} is no ONNX file, or is damaged") from error
    if not _is_text(proto):
        raise StripeError(f"{path} is damaged: there are names in it that are no text")
    if not proto.graph.node or not proto.graph.output or not proto.opset_import:
        raise StripeError(f"{path} is no ONNX file, or is damaged: there is no network in it")
    _load_weights(proto, path)
    if proto.functions:
        proto = _inlined(proto, path)
    _name_own_domain(proto)
    _refuse_operators(proto, path)
    return OnnxFile(
        path,
        hashlib.sha256(content).hexdigest(),
        _images(proto, path),
        tuple(output.name for output in proto.graph.output),
        proto,
    )


def graphs_of(graph: Any) -> Iterator[Any]:
    """A graph, and those in the attributes of its nodes (branches, bodies of loops)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs_of(inner)


def tensors_of(proto: Any) -> Iterator[Any]:
    """Every ``TensorProto`` of a model: initializers, and attributes of its nodes."""
    bodies = [proto.graph, *proto.functions]
    graphs = [inner for body in bodies for inner in graphs_of(body)]
    for graph in graphs:
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)


def _is_text(message: Any) -> bool:
    """Whether all texts are UTF-8; protobuf gives bytes for those that are not."""
    for entry, value in message.ListFields():
        if entry.type == entry.TYPE_STRING and any(isinstance(text, bytes) for text in _each(value)):
            return False
        if entry.type == entry.TYPE_MESSAGE and not all(map(_is_text, _each(value))):
            return False
    return True


def _each(value: Any) -> Any:
    return [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value


def _load_weights(proto: Any, path: Path) -> None:
    """Weights that lie in other files; these must lie in the folder of the network, and hold what is asked for."""
    onnx = onnx_package("onnx")
    folder = path.parent.resolve()
    outside = [tensor for tensor in tensors_of(proto) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    total = 0
    for tensor in outside:
        about = {entry.key: entry.value for entry in tensor.external_data}
        location = about.get("location", "")
        file = (folder / location).resolve()
        if not location or not file.is_relative_to(folder):
            raise StripeError(f"{path}: the weights {tensor.name} are said to lie in {location!r}, outside its folder")
        if not file.is_file():
            raise StripeError(f"{path}: the file {location} beside it, which holds its weights, is not there")
        try:
            offset, length = (int(about.get(key) or 0) for key in ("offset", "length"))
        except ValueError:
            offset = length = -1
        if min(offset, length) < 0 or offset + length > file.stat().st_size:
            raise StripeError(f"{path}: {location} does not hold the weights {tensor.name}; it may be damaged")
        with file.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length) if "length" in about else stream.read()
        total += len(tensor.raw_data)
        if total >= LARGEST_ONNX:
            raise StripeError(f"{path}: networks of 2 GiB or more cannot be read from ONNX files")
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def _inlined(proto: Any, path: Path) -> Any:
    """The functions that a file defines itself, written out."""
    inliner = onnx_package("onnx.inliner")
    try:
        return inliner.inline_local_functions(proto)
    except Exception as error:  # the checks of onnx raise errors of several kinds
        raise StripeError(f"{path}: its own functions cannot be written out ({_first_line(error)})") from error


def _name_own_domain(proto: Any) -> None:
    """ONNX's own operators have a domain of two names, in place; here it is the empty one."""
    for named in (*proto.opset_import, *(node for graph in graphs_of(proto.graph) for node in graph.node)):
        if named.domain in _OWN_DOMAINS:
            named.domain = ""


def _refuse_operators(proto: Any, path: Path) -> None:
    for graph in graphs_of(proto.graph):
        for node in graph.node:
            if node.domain not in _OWN_DOMAINS:
                raise StripeError(
                    f"{path}: the operator {node.domain}:{node.op_type} (node {node.name or '?'}) is none of ONNX's "
                    "own, and nothing that a file brings with it is run; take the file that it was before it was "
                    "optimised for one runtime"
                )
            if node.op_type in _QUANTIZED or node.op_type.startswith("QLinear"):
                raise StripeError(
                    f"{path}: the network is quantized (operator {node.op_type}, node {node.name or '?'}); take the "
                    "floating-point network that it was made from"
                )


def _images(proto: Any, path: Path) -> Tensors:
    """The one input, which takes images."""
    onnx = onnx_package("onnx")
    held = {tensor.name for tensor in proto.graph.initializer}
    inputs = [each for each in proto.graph.input if each.name not in held]
    if len(inputs) != 1:
        named = ", ".join(each.name for each in inputs) or "none"
        raise StripeError(f"{path}: the network has {len(inputs)} inputs ({named}); one batch of images is wanted")
    (taken,) = inputs
    kind = taken.type.WhichOneof("value")
    if kind != "tensor_type":
        raise StripeError(
            f"{path}: the input {taken.name} is a {(kind or 'nothing').removesuffix('_type')}, and not images"
        )
    tensor = taken.type.tensor_type
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type)
    if dtype not in _FLOATS:
        raise StripeError(f"{path}: the input {taken.name} takes {dtype}; floating-point images are wanted")
    if not tensor.HasField("shape") or len(tensor.shape.dim) != 4:
        shape = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim]
        raise StripeError(f"{path}: the input {taken.name} has the shape {shape}; (N, C, H, W) is wanted")
    batch, *sides = ((dim.dim_value if dim.dim_value > 0 else None) for dim in tensor.shape.dim)
    last = sides[2] in _COLOURS and sides[0] not in _COLOURS
    height, width = sides[:2] if last else sides[1:]
    return Tensors(taken.name, batch, sides[2] if last else sides[0], (height, width), last)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
