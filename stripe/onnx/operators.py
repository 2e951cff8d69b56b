"""Operators that onnx2torch does not know, or not in their newer versions, registered there as it documents.

A newer version with the same inputs and attributes only takes more types, so that the converter of the version before
does for it; this holds for most. The rest is written out here.
"""

import functools
from typing import Any

import torch
from torch import Tensor, nn

from stripe.errors import StripeError
from stripe.onnx.file import onnx_package
from stripe.onnx.modules import REDUCTIONS, GlobalMaxPool, Pad, Reduction, Slice, SpaceToDepth, Split

__all__ = ["converter_of", "mended", "refuse_unknown", "register"]


def converter_of(domain: str, operator: str, version: int) -> Any:
    """The converter of an operator; None where there is none."""
    try:
        return onnx_package("onnx2torch.node_converters.registry").get_converter(operator, version, domain)
    except NotImplementedError:
        return None


@functools.cache
def register() -> None:
    """Give onnx2torch the operators and versions that it lacks."""
    registry = onnx_package("onnx2torch.node_converters.registry")
    made = {("Gelu", 20): _gelu, ("GlobalMaxPool", 1): _global_max_pool, ("GroupNormalization", 21): _group_norm}
    made |= {("Mish", 18): _mish, ("Split", 18): _split, ("SpaceToDepth", 1): _space_to_depth, ("Swish", 24): _swish}
    made |= {("AveragePool", 19): _average_pool, ("Pad", 18): _pad, ("Resize", 18): _resize}
    made |= {("Cast", 19): _older("Cast", 13)}
    made |= {(name, 18): _reduce for name in ("ReduceProd", *REDUCTIONS) if name != "ReduceSum"}
    for (operator, version), convert in made.items():
        _add(registry, operator, version, convert)
    for operator, versions in _versions().items():
        known = None
        for version, signature in sorted(versions.items()):
            found = registry._CONVERTER_REGISTRY.get(registry.OperationDescription("", operator, version))
            if found is None and known is not None and known[1] == signature:
                found = known[0]
                _add(registry, operator, version, found)
            known = None if found is None else (found, signature)


def mended(module: nn.Module) -> nn.Module:
    """The module, or one of ours in the place of one of onnx2torch's that errs."""
    nodes = "onnx2torch.node_converters"
    if isinstance(module, onnx_package(f"{nodes}.slice").OnnxSlice):
        return _in_place_of(module, Slice())
    if isinstance(module, onnx_package(f"{nodes}.reduce").OnnxReduceStaticAxes):
        return _in_place_of(module, Reduction(module.operation_type, module.axes, module.keepdims))
    return module


def _in_place_of(module: Any, ours: Any) -> nn.Module:
    ours.onnx_mapping = module.onnx_mapping
    made: nn.Module = ours
    return made


def _add(registry: Any, operator: str, version: int, convert: Any) -> None:
    if registry.OperationDescription("", operator, version) not in registry._CONVERTER_REGISTRY:
        registry.add_converter(operation_type=operator, version=version)(convert)


def _versions() -> dict[str, dict[int, tuple[Any, ...]]]:
    """Operator → version → the names of its attributes and inputs."""
    found: dict[str, dict[int, tuple[Any, ...]]] = {}
    for schema in onnx_package("onnx").defs.get_all_schemas_with_history():
        if schema.domain == "":
            signature = (sorted(schema.attributes), [each.name for each in schema.inputs])
            found.setdefault(schema.name, {})[schema.since_version] = tuple(map(tuple, signature))
    return found


def _older(operator: str, version: int) -> Any:
    """The converter of an older version, which ignores what the newer one has in addition."""
    return onnx_package("onnx2torch.node_converters.registry").get_converter(operator, version)


def _result(module: nn.Module, node: Any, inputs: int | None = None) -> Any:
    common = onnx_package("onnx2torch.utils.common")
    mapping = common.OnnxMapping(inputs=node.input_values[:inputs], outputs=node.output_values)
    return common.OperationConverterResult(torch_module=module, onnx_mapping=mapping)


def _constant(node: Any, graph: Any, position: int) -> Tensor | None:
    """An input that is a constant; None where it is not given."""
    if len(node.input_values) <= position or not node.input_values[position]:
        return None
    try:
        value = onnx_package("onnx2torch.utils.common").get_const_value(node.input_values[position], graph)
    except KeyError as error:
        raise NotImplementedError(f"its input {node.input_values[position]} is no constant") from error
    return torch.as_tensor(value)


def _axes(node: Any, graph: Any, position: int) -> list[int] | None:
    value = _constant(node, graph, position)
    return None if value is None else [int(axis) for axis in value.flatten().tolist()]


def _reduce(node: Any, graph: Any) -> Any:
    axes, attributes = _axes(node, graph, 1), node.attributes
    if not axes and attributes.get("noop_with_empty_axes", 0):
        return _result(nn.Identity(), node, 1)
    return _result(Reduction(node.operation_type, axes, bool(attributes.get("keepdims", 1))), node, 1)


def _gelu(node: Any, graph: Any) -> Any:
    return _result(nn.GELU(node.attributes.get("approximate", "none")), node)


def _mish(node: Any, graph: Any) -> Any:
    return _result(nn.Mish(), node)


def _swish(node: Any, graph: Any) -> Any:
    if node.attributes.get("alpha", 1.0) != 1:
        raise NotImplementedError("its alpha is not 1")
    return _result(nn.SiLU(), node)


def _global_max_pool(node: Any, graph: Any) -> Any:
    return _result(GlobalMaxPool(), node)


def _space_to_depth(node: Any, graph: Any) -> Any:
    return _result(SpaceToDepth(node.attributes["blocksize"]), node)


def _group_norm(node: Any, graph: Any) -> Any:
    weight, bias = _constant(node, graph, 1), _constant(node, graph, 2)
    assert weight is not None
    assert bias is not None
    layer = nn.GroupNorm(node.attributes["num_groups"], len(weight), node.attributes.get("epsilon", 1e-5))
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return _result(layer, node, 1)


def _split(node: Any, graph: Any) -> Any:
    sizes, axis = _axes(node, graph, 1), node.attributes.get("axis", 0)
    return _result(Split(sizes, len(node.output_values), axis), node, 1)


def _average_pool(node: Any, graph: Any) -> Any:
    if set(node.attributes.get("dilations", [1])) != {1}:
        raise NotImplementedError("it is dilated")
    return _older("AveragePool", 11)(node, graph)


def _resize(node: Any, graph: Any) -> Any:
    newer = {"antialias": 0, "keep_aspect_ratio_policy": "stretch"}
    if "axes" in node.attributes or any(node.attributes.get(key, value) != value for key, value in newer.items()):
        raise NotImplementedError("it resizes along named axes, with antialiasing or keeps the aspect ratio")
    return _older("Resize", 13)(node, graph)


def _pad(node: Any, graph: Any) -> Any:
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        node.attributes.get("mode", "constant")
    )
    if mode is None:
        raise NotImplementedError("it wraps around")
    value = _constant(node, graph, 2)
    module = Pad(mode, 0.0 if value is None else float(value), _axes(node, graph, 3))
    return _result(module, node, 2)


def refuse_unknown(proto: Any, source: Any) -> None:
    """Make sure that there is a converter of every operator.

    Raises:
        StripeError: There is none of one; the message names it and its node.
    """
    versions = {each.domain: each.version for each in proto.opset_import}
    for node in proto.graph.node:
        if converter_of(node.domain, node.op_type, versions.get(node.domain, versions.get("", 1))) is None:
            raise StripeError(
                f"{source}: the operator {node.op_type} (node {node.name}, opset {versions.get(node.domain)}) cannot "
                "be converted to PyTorch"
            )
