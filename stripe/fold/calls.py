"""Who called whom in a forward pass, and where in a traced forward a call or a multiplication stands."""

import inspect
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from stripe.adapter import Batch, copy_model, run
from stripe.capture.products import product_of
from stripe.errors import StripeError
from stripe.models.graph import trace

__all__ = ["Calls", "Frame"]

Frame = tuple[str, int]
"""Path of a module, and which of its calls in a forward pass, from 0."""


class Calls:
    """The calls of a network's modules in one forward pass.

    Args:
        model: The network. What is asked later about one of its blocks holds as long as that was not changed.
        batch: The images.

    Attributes:
        runs: Path of each module → how often it runs; 0 where it has no call of its own.
    """

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        self.model, self.batch = model, batch
        self.runs: Counter[str] = Counter()
        self._callers: dict[Frame, tuple[Frame, int]] = {}
        self._names: dict[str, set[str]] = {}  # all that a module has, under the first
        self._graphs: dict[str, fx.Graph] = {}
        self._products: dict[str, list[str]] = {}
        first = {id(module): path for path, module in model.named_modules()}
        for path, module in model.named_modules(remove_duplicate=False):
            self._names.setdefault(first[id(module)], set()).add(path)
        self._watch()

    def _watch(self) -> None:
        stack: list[Frame] = []
        counts: Counter[tuple[Frame, str]] = Counter()

        def enter(path: str) -> None:
            frame = path, self.runs[path]
            self.runs[path] += 1
            if stack:
                self._callers[frame] = stack[-1], counts[stack[-1], path]
                counts[stack[-1], path] += 1
            stack.append(frame)

        handles = []
        try:
            for path, module in self.model.named_modules():
                handles.append(module.register_forward_pre_hook(lambda *_, path=path: enter(path)))
                handles.append(module.register_forward_hook(lambda *_: void(stack.pop()), always_call=True))
            with torch.no_grad():
                run(self.model, self.batch)
        finally:
            for handle in handles:
                handle.remove()

    def around(self, frame: Frame) -> list[Frame]:
        """A call, and the calls that were running when it was made, from the innermost to the network's own."""
        frames = [frame]
        while frames[-1] in self._callers:
            frames.append(self._callers[frames[-1]][0])
        return frames

    def graph(self, path: str) -> fx.Graph:
        """The traced forward of a block, as it was when it was first asked for.

        Raises:
            StripeError: It cannot be traced.
        """
        if path not in self._graphs:
            self._graphs[path] = trace(self.model, path)
        return self._graphs[path]

    def call(self, frame: Frame) -> str:
        """The name of the node that is a call, in the graph of the block that made it; empty where there is none."""
        (caller, _), number = self._callers[frame]
        names = {name[len(caller) + bool(caller) :] for name in self._names[frame[0]] if name.startswith(caller)}
        nodes = [node for node in self.graph(caller).nodes if node.op == "call_module" and node.target in names]
        return nodes[number].name if number < len(nodes) else ""

    def product(self, path: str, number: int) -> str:
        """The name of the node in which a multiplication is done, in the graph of a block; empty where there is none.

        Args:
            path: The block.
            number: The number of the multiplication among all in the block's call, from 0.

        Raises:
            StripeError: The forward cannot be traced, or its graph does not run.
        """
        if path not in self._products:
            self._products[path] = self._number(path)
        names = self._products[path]
        return names[number] if number < len(names) else ""

    def _number(self, path: str) -> list[str]:
        graph, block = self.graph(path), self.model.get_submodule(path)
        given: list[Any] = []

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            bound = inspect.signature(block.forward).bind(*args, **kwargs)
            bound.apply_defaults()
            values = (*bound.args, *bound.kwargs.values())
            given.append(tree_map(lambda value: value.clone() if isinstance(value, Tensor) else value, values))

        handle = block.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            with torch.no_grad():
                run(self.model, self.batch)
        finally:
            handle.remove()
        numbering = _Numbering(copy_model(block), graph)  # what modules keep of a forward pass stays as it is
        try:
            with torch.no_grad(), _Products(numbering):
                numbering.run(*given[0])
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise StripeError(f"its traced forward does not run ({reason})") from error
        return numbering.names


class _Numbering(fx.Interpreter):
    """Runs a graph, and writes down the node of each multiplication of two tensors."""

    def __init__(self, block: nn.Module, graph: fx.Graph) -> None:
        super().__init__(block, graph=graph)
        self.node = ""
        self.names: list[str] = []

    def run_node(self, n: fx.Node) -> Any:
        self.node = n.name
        return super().run_node(n)


class _Products(TorchFunctionMode):
    def __init__(self, numbering: _Numbering) -> None:
        super().__init__()
        self.numbering = numbering

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if product_of(func, args, kwargs or {}) is not None:
            self.numbering.names.append(self.numbering.node)
        return func(*args, **(kwargs or {}))


def void(_: object) -> None:
    """Nothing."""
