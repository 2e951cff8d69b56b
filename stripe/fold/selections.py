"""What a network selects by values in the middle of a forward pass: proposals, boxes, tokens.

A detector sorts, thresholds and suppresses boxes. Which ones remain can hang on the last bit of a score, and none may
remain at all, so that the outputs alone say little of whether two networks compute the same. Therefore the values by
which is selected, and those out of which is selected, are compared as well, and every network that is compared selects
as the first one did.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["Selections"]

_SELECTIONS = frozenset(
    {"topk", "sort", "argsort", "msort", "nms", "nonzero", "argwhere", "unique", "unique_consecutive", "masked_select"}
)
_GETTERS = frozenset({"__getitem__", "index_select", "gather", "take", "take_along_dim"})

_Key = tuple[str, str, int]
"""Path of the module that runs, name of the function, and which of its calls there."""


class Selections:
    """The selections of a network's first forward pass, which later ones repeat.

    Attributes:
        results: What each selection gave in the first pass.
        judged: The floating-point numbers by which, or out of which, was selected in the first pass.
    """

    def __init__(self) -> None:
        self.results: dict[_Key, Any] = {}
        self.judged: dict[_Key, list[Tensor]] = {}

    @contextmanager
    def first(self, model: nn.Module) -> Iterator[None]:
        """Within, the network runs for the first time."""
        with _watching(model) as stack, _Watcher(stack, self.results, self.judged, repeat=False):
            yield

    @contextmanager
    def again(self, model: nn.Module) -> Iterator[dict[_Key, list[Tensor]]]:
        """Within, a network that was changed runs; the numbers by which it would select are given."""
        judged: dict[_Key, list[Tensor]] = {}
        if not self.judged:
            yield judged
            return
        with _watching(model) as stack, _Watcher(stack, self.results, judged, repeat=True):
            yield judged


@contextmanager
def _watching(model: nn.Module) -> Iterator[list[str]]:
    """The paths of the modules that are running."""
    stack: list[str] = []

    def enter(path: str) -> Callable[..., None]:
        return lambda *_: stack.append(path)

    def leave(*_: Any) -> None:
        stack.pop()

    handles = []
    try:
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(enter(path)))
            handles.append(module.register_forward_hook(leave, always_call=True))
        yield stack
    finally:
        for handle in handles:
            handle.remove()


class _Watcher(TorchFunctionMode):
    """Notes selections and what they are made by, or repeats them."""

    def __init__(
        self, stack: list[str], results: dict[_Key, Any], judged: dict[_Key, list[Tensor]], *, repeat: bool
    ) -> None:
        super().__init__()
        self.stack, self.results, self.judged, self.repeat = stack, results, judged, repeat
        self.counts: Counter[tuple[str, str]] = Counter()
        self.sources: dict[int, tuple[Tensor, list[Tensor]]] = {}  # of what was compared; held, so that none is reused
        self.chosen: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = str(getattr(func, "__name__", "")).partition(".")[0]
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        masked = name == "__getitem__" and any(leaf.dtype is torch.bool for leaf in inputs[1:])
        if inputs and (name in _SELECTIONS or masked or (name == "where" and len(args) + len(kwargs) == 1)):
            return self._select(name, func, args, kwargs, inputs)
        result = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for output in outputs:
            if output.dtype is torch.bool:
                self.sources[id(output)] = output, self._behind(inputs)
            elif not output.is_floating_point() and any(id(leaf) in self.chosen for leaf in inputs):
                self.chosen[id(output)] = output
        if name in _GETTERS and any(id(leaf) in self.chosen for leaf in inputs[1:]):
            self.judged[self._key(name)] = _kept(inputs[:1])
        return result

    def _select(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[Tensor]) -> Any:
        key = self._key(name)
        judged = _kept([*self._behind(inputs), *(leaf for leaf in inputs if leaf.is_floating_point())])
        if judged:
            self.judged[key] = judged
        if self.repeat and key in self.results:
            result = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, self.results[key])
        else:
            result = func(*args, **kwargs)
            if judged and not self.repeat:
                self.results[key] = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, result)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and not leaf.is_floating_point():
                self.chosen[id(leaf)] = leaf
        return result

    def _behind(self, inputs: list[Tensor]) -> list[Tensor]:
        """The numbers that were compared to make masks; of other tensors themselves, where they are such numbers."""
        found: list[Tensor] = []
        for leaf in inputs:
            if leaf.is_floating_point():
                found.append(leaf)
            elif id(leaf) in self.sources:
                found += self.sources[id(leaf)][1]
        return found

    def _key(self, name: str) -> _Key:
        path = self.stack[-1] if self.stack else ""
        self.counts[path, name] += 1
        return path, name, self.counts[path, name]


def _kept(tensors: list[Tensor]) -> list[Tensor]:
    """Copies, each tensor once: a network may change its own."""
    return [tensor.clone() for tensor in {id(tensor): tensor for tensor in tensors}.values() if tensor.numel() > 1]
