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

from stripe.adapter import tensors_of

__all__ = ["Selections", "Undecided"]

_SELECTIONS = frozenset(
    {"topk", "sort", "argsort", "msort", "nms", "nonzero", "argwhere", "unique", "unique_consecutive", "masked_select"}
)
_ORDERS = frozenset({"topk", "sort", "argsort", "msort"})
"""Selections of so many as the code says."""

_GETTERS = frozenset({"__getitem__", "index_select", "gather", "take", "take_along_dim"})

_Key = tuple[str, str, int]
"""Path of the module that runs, name of the function, and which of its calls there."""

_Sources = dict[int, tuple[Tensor, list[Tensor]]]
"""Identity of a mask → the mask, held so that its identity is not reused, and the numbers that were compared for it."""


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
        self.sources: _Sources = {}
        self.chosen: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = str(getattr(func, "__name__", "")).partition(".")[0]
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if _selects(name, inputs, len(args) + len(kwargs)):
            return self._select(name, func, args, kwargs, inputs)
        result = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for output in outputs:
            if output.dtype is torch.bool:
                self.sources[id(output)] = output, _behind(inputs, self.sources)
            elif not output.is_floating_point() and any(id(leaf) in self.chosen for leaf in inputs):
                self.chosen[id(output)] = output
        if name in _GETTERS and any(id(leaf) in self.chosen for leaf in inputs[1:]):
            self.judged[self._key(name)] = _kept(inputs[:1])
        return result

    def _select(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[Tensor]) -> Any:
        key = self._key(name)
        judged = _kept([*_behind(inputs, self.sources), *(leaf for leaf in inputs if leaf.is_floating_point())])
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

    def _key(self, name: str) -> _Key:
        path = self.stack[-1] if self.stack else ""
        self.counts[path, name] += 1
        return path, name, self.counts[path, name]


class Undecided(TorchFunctionMode):
    """Notes the numbers by which, or out of which, a network selects first while it is active.

    A detector returns another number of boxes for each image, and for each change of its weights, so that its outputs
    cannot be compared. The scores and boxes out of which they are selected can.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[Tensor] = []
        self.noted: dict[int, Tensor] = {}
        self.sources: _Sources = {}
        self.chosen: dict[int, Tensor] = {}  # what was selected, and what was computed of it; held as well
        self.varying: dict[int, Tensor] = {}  # those of which there may be more or fewer

    def of(self, output: Any, count: int) -> list[Tensor]:
        """The numbers, (N, …) each, where how many there are in the outputs depends on values; nothing otherwise.

        Args:
            output: What the network returned.
            count: N, the number of images.
        """
        varying = [leaf for leaf in tensors_of(output) if id(leaf) in self.varying]
        if not any(leaf.shape[:1] != (count,) for leaf in varying):
            return []
        numbers = self.numbers
        if all(tensor.ndim and len(tensor) == count for tensor in numbers):
            return numbers
        each = len(numbers) // count  # selected for one image after the other
        images = [numbers[number * each : (number + 1) * each] for number in range(count)]
        alike = each * count == len(numbers) and all(
            len({tensor.shape for tensor in same}) == 1 for same in zip(*images, strict=True)
        )
        return [torch.stack(same) for same in zip(*images, strict=True)] if alike else []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = str(getattr(func, "__name__", "")).partition(".")[0]
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        selects = _selects(name, inputs, len(args) + len(kwargs))
        after = any(id(leaf) in self.chosen for leaf in inputs)
        if selects and not after:
            self._note(_behind(inputs, self.sources))
        elif name in _GETTERS and after and inputs[0].is_floating_point() and id(inputs[0]) not in self.chosen:
            self._note(inputs[:1])
        varies = (selects and name not in _ORDERS) or any(id(leaf) in self.varying for leaf in inputs)
        result = func(*args, **kwargs)
        for leaf in inputs[:1] if name == "__setitem__" else tree_leaves(result):
            if not isinstance(leaf, Tensor):
                continue
            if leaf.dtype is torch.bool:
                self.sources[id(leaf)] = leaf, _behind(inputs, self.sources)
            if selects or after:
                self.chosen[id(leaf)] = leaf
            if varies:
                self.varying[id(leaf)] = leaf
        return result

    def _note(self, tensors: list[Tensor]) -> None:
        """Keep copies, of each tensor one, however often something is selected out of it."""
        new = [tensor for tensor in tensors if id(tensor) not in self.noted]
        self.noted |= {id(tensor): tensor for tensor in new}
        self.numbers += _kept(new)


def _selects(name: str, inputs: list[Tensor], given: int) -> bool:
    """Whether a function selects some of many by their values."""
    masked = name == "__getitem__" and any(leaf.dtype is torch.bool for leaf in inputs[1:])
    return bool(inputs) and (name in _SELECTIONS or masked or (name == "where" and given == 1))


def _behind(inputs: list[Tensor], sources: _Sources) -> list[Tensor]:
    """The numbers that were compared to make masks; of other tensors themselves, where they are such numbers."""
    found: list[Tensor] = []
    for leaf in inputs:
        if leaf.is_floating_point():
            found.append(leaf)
        elif id(leaf) in sources:
            found += sources[id(leaf)][1]
    return found


def _kept(tensors: list[Tensor]) -> list[Tensor]:
    """Copies, each tensor once: a network may change its own."""
    return [tensor.clone() for tensor in {id(tensor): tensor for tensor in tensors}.values() if tensor.numel() > 1]
