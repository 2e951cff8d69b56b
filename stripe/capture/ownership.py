"""The parameters of the gates: those whose only way to the output of a network runs through a gate."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stripe.adapter import Batch, eager, run, tensors_in
from stripe.capture.products import product_of
from stripe.capture.sites import Site
from stripe.modes import evaluating

__all__ = ["gate_parameters", "learned"]


def learned(model: nn.Module) -> dict[str, Tensor]:
    """The parameters of a network by name, each once.

    In the graph of a file a weight may be a constant, too. So the floating-point constants of a graph are included,
    but not the running statistics of its normalisations.
    """
    found: dict[str, Tensor] = dict(model.named_parameters())
    if isinstance(model, fx.GraphModule):
        for path, module in model.named_modules():
            if not isinstance(module, _NormBase):
                found |= {
                    f"{path}.{name}" if path else name: tensor
                    for name, tensor in module.named_buffers(recurse=False)
                    if tensor.is_floating_point()
                }
    return found


def gate_parameters(model: nn.Module, batch: Batch, sites: Sequence[Site]) -> dict[str, Tensor]:
    """Find the parameters of a network's gates.

    The network runs once. With every tensor goes the set of the parameters that it was computed from on a way that
    leads through no gate: a product of a map and its gate has the set of the map. A gate's own parameters are those in
    the set of a gate that are not in the set of an output. So the convolutions before the squeeze do not belong to it,
    although the gate depends on them: the map does, too.

    Args:
        model: The network.
        batch: Two images or one, as the network takes them.
        sites: All attention sites of the network, from ``stripe.capture.discover``.

    Returns:
        The parameters by name, in the order of the network; empty if no gate has any.
    """
    names = learned(model)
    flow = _Flow({name: tensor for name, tensor in names.items() if tensor.numel()})
    gates = _Gates(flow, {(site.module, site.call, site.product): site.operand for site in sites})

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            gates.stack.append((name, gates.calls[name]))
            gates.calls[name] += 1

        return hook

    handles = [model.register_forward_pre_hook(lambda *_: gates.begin())]
    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(enter(name)))
            handles.append(module.register_forward_hook(lambda *_: gates.leave(), always_call=True))
        with evaluating(model), torch.no_grad(), eager(), flow, gates:
            output = run(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    beside = frozenset[str]().union(*map(flow.of, tensors_in(output)))
    return {name: tensor for name, tensor in names.items() if name in gates.own - beside}


class _Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that follows the names of the parameters that a tensor was computed from."""

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # By storage; a weak reference keeps its id from reuse.
        self._names: dict[int, tuple[StorageWeakRef, frozenset[str]]] = {}
        for name, tensor in parameters.items():
            self.add(tensor, frozenset({name}))

    def of(self, *tensors: Tensor) -> frozenset[str]:
        """The names of the parameters that tensors were computed from."""
        found = (self._names.get(storage._cdata) for storage in map(_storage, tensors) if storage is not None)
        return frozenset().union(*(names for _, names in filter(None, found)))

    def add(self, tensor: Tensor, names: frozenset[str]) -> None:
        """Add names to those of a tensor and of its views."""
        self.put(tensor, names | self.of(tensor))

    def put(self, tensor: Tensor, names: frozenset[str]) -> None:
        """Give a tensor and its views these names instead of those that they had."""
        if names and (storage := _storage(tensor)) is not None:
            held = self._names.get(storage._cdata)
            self._names[storage._cdata] = (held[0] if held else StorageWeakRef(storage), names)  # type: ignore[no-untyped-call]
        elif (storage := _storage(tensor)) is not None and storage._cdata in self._names:
            self._names[storage._cdata] = (self._names[storage._cdata][0], names)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        names = self.of(*(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)))
        for output in tree_leaves(result) if names else ():
            if isinstance(output, Tensor):
                self.add(output, names)
        return result


class _Gates(TorchFunctionMode):
    """A function mode that gives a product of a map and a gate the names of the map, and keeps those of the gate.

    Attributes:
        own: Names of the parameters that any gate was computed from.
    """

    def __init__(self, flow: _Flow, wanted: dict[tuple[str, int, int], int]) -> None:
        super().__init__()
        self.own: frozenset[str] = frozenset()
        self.stack: list[tuple[str, int]] = []
        self.calls: Counter[str] = Counter()
        self._flow = flow
        self._wanted = wanted
        self._counts: Counter[tuple[str, int]] = Counter()

    def begin(self) -> None:
        """Begin a forward pass: the one before may have failed."""
        self.stack.clear()
        self.calls.clear()
        self._counts.clear()

    def leave(self) -> None:
        self.stack.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        product = product_of(func, args, kwargs)
        if product is None or not self.stack:
            return func(*args, **kwargs)
        operand = self._wanted.get((*self.stack[-1], self._counts[self.stack[-1]]))
        self._counts.update(dict.fromkeys(self.stack, 1))
        if operand is None:
            return func(*args, **kwargs)
        gate, feature_map = product.operands[operand], product.operands[1 - operand]
        self.own |= self._flow.of(gate)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        terms = [leaf for leaf in given if leaf is not gate and not _same_storage(leaf, gate)]  # as in addcmul, lerp
        names = self._flow.of(feature_map, *terms)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            self._flow.put(result, names)
        return result


def _same_storage(one: Tensor, other: Tensor) -> bool:
    storages = _storage(one), _storage(other)
    return None not in storages and storages[0]._cdata == storages[1]._cdata


def _storage(tensor: Tensor) -> Any:
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse, and subclasses without one
        return None
