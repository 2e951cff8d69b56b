"""From the graph of a changed network back to ONNX: each node is the file's own, with the weights of its module now."""

import inspect
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from stripe.errors import StripeError
from stripe.onnx.file import onnx_package
from stripe.onnx.modules import SamePad
from stripe.onnx.network import CHANNELS_LAST, take

__all__ = ["emit"]

# A value of the graph: the name of a tensor, those of a node with several outputs, or a constant.
Value = str | tuple[str, ...] | Tensor | float | int

_FUNCTIONS: dict[Any, str] = {
    operator.mul: "Mul",
    torch.mul: "Mul",
    "mul": "Mul",
    operator.add: "Add",
    torch.add: "Add",
    "add": "Add",
}

# The inputs of an operator that the entries of its module's state are.
_AFFINE = {"weight": 1, "bias": 2}
_STATE = {
    "Conv": _AFFINE,
    "ConvTranspose": _AFFINE,
    "Gemm": _AFFINE,
    "GroupNormalization": _AFFINE,
    "InstanceNormalization": _AFFINE,
    "LayerNormalization": _AFFINE,
    "BatchNormalization": {**_AFFINE, "running_mean": 3, "running_var": 4},
    "PRelu": {"weight": 1},
}
_IGNORED = "num_batches_tracked"


def emit(network: fx.GraphModule, reference: fx.GraphModule, proto: Any) -> Any:
    """Write a changed network as ONNX.

    Args:
        network: What became of ``reference``: modules were changed, replaced by others or taken out.
        reference: The network as it was converted.
        proto: The prepared model that it was converted from.

    Returns:
        An ``onnx.ModelProto`` with the inputs, outputs and operators of ``proto``.

    Raises:
        StripeError: The network has something that is neither of the file nor a multiplication or an addition.
    """
    emission = _Emission(reference, proto)
    (found,) = emission.run(network, [proto.graph.input[0].name])
    return emission.finish(found if isinstance(found, list) else [found])


class _Emission:
    def __init__(self, reference: fx.GraphModule, proto: Any) -> None:
        self.reference, self.proto = reference, proto
        self.sources = {node.name: node for node in proto.graph.node}
        self.held = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.nodes: list[Any] = []
        self.tensors: dict[str, Any] = {}
        self.names = {*self.held, *(name for node in proto.graph.node for name in (*node.input, *node.output))}
        self.made: set[str] = set()

    def run(self, network: fx.GraphModule, given: Sequence[Value]) -> list[Any]:
        """Emit a graph; what it returns."""
        values: dict[fx.Node, Any] = {}
        remaining = iter(given)
        for node in network.graph.nodes:
            args = fx.map_arg(node.args, lambda each: values[each])
            kwargs = fx.map_arg(node.kwargs, lambda each: values[each])
            if node.op == "placeholder":
                values[node] = next(remaining, None)  # *args of a module that is given none
            elif node.op == "get_attr":
                values[node] = _attribute(network, str(node.target))
            elif node.op == "output":
                return [list(args[0]) if isinstance(args[0], list | tuple) else args[0]]
            elif node.op == "call_module":
                values[node] = self._module(str(node.target), network.get_submodule(str(node.target)), args, kwargs)
            else:
                values[node] = self._function(node, args, kwargs)
        raise AssertionError("a graph has an output")

    def finish(self, found: Sequence[Value]) -> Any:
        """The model, with the file's names of its outputs and nothing that they don't need."""
        onnx = onnx_package("onnx")
        model = onnx.ModelProto()
        model.CopyFrom(self.proto)
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        for value, output in zip(found, self.proto.graph.output, strict=True):
            self._rename(self._named(value, output.name), output.name)
        needed = {output.name for output in self.proto.graph.output}
        kept = []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                kept.append(node)
        model.graph.node.extend(reversed(kept))
        model.graph.initializer.extend(tensor for name, tensor in self.tensors.items() if name in needed)
        return model

    def _module(self, name: str, module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> Value:
        source = self.sources.get(name)
        reference = getattr(self.reference, name, None)
        if name == CHANNELS_LAST or isinstance(module, SamePad) or (source is None and isinstance(module, nn.Identity)):
            return _value(args[0])
        if source is not None and type(module) is type(reference):
            return self._own(source, module, reference, args, kwargs)
        if isinstance(module, nn.Identity):
            return _value(args[0])
        graph = module if isinstance(module, fx.GraphModule) else fx.symbolic_trace(module)
        return _value(self.run(graph, args)[0])

    def _own(
        self, source: Any, module: nn.Module, reference: Any, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Value:
        """A node of the file."""
        onnx = onnx_package("onnx")
        node = onnx.NodeProto()
        node.CopyFrom(source)
        given = dict(enumerate(args)) | {
            list(inspect.signature(module.forward).parameters).index(k): v for k, v in kwargs.items()
        }
        free = list(range(len(node.input)))
        for number, name in enumerate(reference.onnx_mapping.inputs):
            place = next(place for place in free if source.input[place] == name)
            free.remove(place)
            if number in given:
                node.input[place] = self._named(given[number], name)
        self._weights(node, free, module, reference)
        for place, name in enumerate(source.output):
            node.output[place] = self._new(name, self.made)
            self.made.add(node.output[place])
        self.nodes.append(node)
        return node.output[0] if len(node.output) == 1 else tuple(node.output)

    def _weights(self, node: Any, places: Sequence[int], module: nn.Module, reference: nn.Module) -> None:
        """The weights of a node, from the state of its module."""
        for place in places:
            if name := node.input[place]:
                self.tensors[name] = self.held[name]
        changed = _changed(module, reference)
        if not changed:
            return
        onnx, known = onnx_package("onnx"), _STATE.get(node.op_type, {})
        if node.op_type == "Gemm":  # its module has the transposed weight, with α and β inside
            for attribute in [each for each in node.attribute if each.name in ("alpha", "beta", "transA", "transB")]:
                node.attribute.remove(attribute)
            node.attribute.append(onnx.helper.make_attribute("transB", 1))
            changed = _state(module)
        for entry, tensor in changed.items():
            if entry not in known:
                raise StripeError(f"the changed {entry} of {node.name} ({node.op_type}) cannot be written as ONNX")
            place = known[entry]
            while len(node.input) <= place:
                node.input.append("")
            before = node.input[place] or f"{node.name}.{entry}"
            if place in places and before in self.held and node.op_type == "PRelu":
                tensor = tensor.reshape(tuple(self.held[before].dims))
            node.input[place] = self._constant(tensor, before)

    def _function(self, node: fx.Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Value:
        """A function between the modules: computed now where it is one of constants, else a node."""
        if node.target in (operator.getitem, take) and isinstance(args[0], tuple | list):
            return _value(args[0][args[1]])
        if not any(isinstance(value, str | tuple) for value in args):
            function: Callable[..., Any] = (
                getattr(torch.Tensor, str(node.target)) if node.op == "call_method" else node.target  # type: ignore[assignment]
            )
            computed: Value = function(*args, **kwargs)
            return computed
        kind = _FUNCTIONS.get(node.target)
        if kind is None or len(args) != 2 or kwargs:
            raise StripeError(f"the function {node.name} that became part of the network cannot be written as ONNX")
        made = onnx_package("onnx").helper.make_node(
            kind,
            [self._named(value, f"{node.name}.constant") for value in args],
            [self._new(node.name, self.names)],
            name=self._new(f"{kind}_{node.name}", set(self.sources)),
        )
        self.names.add(made.output[0])
        self.nodes.append(made)
        return str(made.output[0])

    def _named(self, value: Value, name: str) -> str:
        """The name of a value; a constant becomes an initializer, of the given name where it is the file's."""
        if isinstance(value, str):
            return value
        if isinstance(value, tuple):
            raise StripeError(f"several values are taken for one at {name}")
        return self._constant(torch.as_tensor(value), name)

    def _constant(self, tensor: Tensor, name: str) -> str:
        onnx = onnx_package("onnx")
        array = tensor.detach().cpu().numpy()
        if name in self.held:
            before = onnx.numpy_helper.to_array(self.held[name])
            if before.shape == array.shape and np.array_equal(before, array, equal_nan=array.dtype.kind == "f"):
                self.tensors[name] = self.held[name]
                return name
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        new = self._new(name, self.names)
        self.names.add(new)
        self.tensors[new] = onnx.numpy_helper.from_array(np.ascontiguousarray(array), new)
        return new

    def _rename(self, found: str, wanted: str) -> None:
        """Give an output of the model the name that the file has for it."""
        if found == wanted:
            return
        onnx = onnx_package("onnx")
        makers = [node for node in self.nodes if found in node.output]
        outputs = {output.name for output in self.proto.graph.output}
        if any(wanted in node.output for node in self.nodes):
            raise StripeError(f"the output {wanted} of the file is still made, but is none of the network any more")
        if not makers or found in outputs:
            self.nodes.append(onnx.helper.make_node("Identity", [found], [wanted], name=f"{wanted}_output"))
            return
        for node in self.nodes:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == found:
                        names[place] = wanted

    def _new(self, name: str, taken: set[str]) -> str:
        numbered = (f"{name}_{number}" for number in itertools.count(1))
        return next(each for each in itertools.chain([name], numbered) if each not in taken)


def _value(found: Any) -> Value:
    value: Value = found
    return value


def _attribute(network: nn.Module, path: str) -> Any:
    parent, _, name = path.rpartition(".")
    return getattr(network.get_submodule(parent), name)


def _state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module, of the last one where padding comes before it; by the names without its path."""
    last = list(module.children())[-1] if isinstance(module, nn.Sequential) else module
    return {name: tensor for name, tensor in last.state_dict().items() if name != _IGNORED}


def _changed(module: nn.Module, reference: nn.Module) -> dict[str, Tensor]:
    before = _state(reference)
    return {
        name: tensor
        for name, tensor in _state(module).items()
        if name not in before or not torch.equal(tensor.cpu(), before[name])
    }
