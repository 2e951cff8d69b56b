"""Networks that differ in the sites that are constant, scored on the same images; what is the same is computed once.

A network with one more constant computes the same as before up to that site. So what the modules before it returned is
kept for each batch, and returned again instead of being computed; the network runs from the site on. That asks nothing
of the network but that its modules run in the same order. Whether it gives the right outputs is tried for each site on
a few images, against a network that runs as a whole.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from stripe.adapter import Batch, run, tensors_of
from stripe.errors import StripeError
from stripe.fold.evaluation import Evaluation, evaluate
from stripe.fold.sample import Sample
from stripe.fold.sites import Foldable, gated, put_gates
from stripe.models.surgery import replace_module
from stripe.modes import evaluating

__all__ = ["Variants"]

logger = logging.getLogger(__name__)

LIMIT = 2 * 2**30
"""Bytes of maps that are kept, of all images together; what is not kept is computed again."""

TRIED = 4
"""Images on which a site is tried."""

TOLERANCE = 1e-5
"""Largest difference of an output where a site is tried, relative to the largest output."""


@dataclass
class _Call:
    """The only call of a module in a forward pass.

    Attributes:
        start: When it began, counted in calls that began or ended.
        end: When it ended.
        size: Bytes of its result.
        changed: Whether its result is changed in place afterwards.
    """

    start: int
    end: int = 0
    size: int = 0
    changed: bool = False


class Variants:
    """Scores of a network with some of its sites constant.

    Args:
        model: The network with attention, not changed.
        places: The sites.
        values: Name of the site → v, of the shape of its values.
        images: The images to score on.

    Attributes:
        original: The score with attention.
    """

    def __init__(
        self, model: nn.Module, places: Sequence[Foldable], values: Mapping[str, Tensor], images: Sample
    ) -> None:
        self.source, self.values, self.images = model, values, images
        self.model = gated(model, [], values)  # a copy
        self.calls: dict[nn.Module, _Call] = {}  # of the modules whose results are kept
        self.starts: dict[str, int] = {}  # name of the site → when it begins, where that is enough to know
        self.base: frozenset[str] = frozenset()  # the sites that are constant in what is kept
        self.memory: list[dict[nn.Module, Any]] = []  # what is kept, for each batch
        self.waiting: tuple[frozenset[str], list[dict[nn.Module, Any]]] | None = None
        self._look(places)
        made: list[dict[nn.Module, Any]] = []
        self.original = self._run([], 0, made)
        self.memory = made
        self.evaluations = {self.base: self.original}

    def evaluate(self, folded: Sequence[Foldable], *, going_on: bool = False) -> Evaluation:
        """Score the network with the given sites constant.

        Args:
            folded: The sites. It is cheap where those that were kept last are among them.
            going_on: Whether they may be kept.

        Raises:
            StripeError: The network does not run so: attention may need something of the site before (DIA).
        """
        names = frozenset(place.site.name for place in folded)
        if names not in self.evaluations:
            new = names - self.base
            if self.base <= names and new <= self.starts.keys():
                made: list[dict[nn.Module, Any]] | None = [] if going_on else None
                self.evaluations[names] = self._run(folded, min(self.starts[name] for name in new), made)
                self.waiting = (names, made) if made is not None else None
            else:
                self.evaluations[names] = evaluate(gated(self.source, folded, self.values), self.images)
        return self.evaluations[names]

    def keep(self, folded: Sequence[Foldable]) -> None:
        """Go on from these sites, which were scored last: others are folded in addition."""
        names = frozenset(place.site.name for place in folded)
        if self.waiting is not None and self.waiting[0] == names:
            for kept, new in zip(self.memory, self.waiting[1], strict=True):
                kept.update(new)
            self.base, self.waiting = names, None

    def _run(self, folded: Sequence[Foldable], start: int, made: list[dict[nn.Module, Any]] | None) -> Evaluation:
        """Score all batches, from a moment of the forward pass on; what is computed is put into ``made``."""
        numbers = iter(range(len(self.images)))

        def replayed() -> AbstractContextManager[None]:
            number = next(numbers)
            new: dict[nn.Module, Any] | None = None
            if made is not None:
                made.append(new := {})
            return self._replayed(self.memory[number] if start else {}, start, new)

        with self._gates(folded):
            return evaluate(self.model, self.images, replayed)

    @contextmanager
    def _gates(self, folded: Sequence[Foldable]) -> Iterator[None]:
        """Constants in the places of the sites."""
        old = put_gates(self.model, folded, self.values)
        try:
            yield
        finally:
            for place, module in zip(folded, old, strict=True):
                replace_module(self.model, place.module, module)

    @contextmanager
    def _replayed(self, known: Mapping[nn.Module, Any], start: int, new: dict[nn.Module, Any] | None) -> Iterator[None]:
        """Within, modules that end before a moment return what is known, and others may be recorded."""

        def around(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
            call = self.calls[module]

            def replay(*args: Any, **kwargs: Any) -> Any:
                if call.end < start and module in known:
                    return _own(known[module], call.changed)
                result = forward(*args, **kwargs)
                if new is not None:
                    new[module] = _own(result, call.changed)
                return result

            return replay

        with _wrapped(self.calls, around):
            yield

    def _look(self, places: Sequence[Foldable]) -> None:
        """Find out when each module runs, which results to keep, and for which sites that works."""
        few = self.images.first().first(TRIED)
        with evaluating(self.model), torch.no_grad():
            calls = self._follow(few)
            starts = {
                place.site.name: calls[module].start
                for place in places
                if (module := self.model.get_submodule(place.module)) in calls
            }
            count = sum(len(batch) for batch, _ in self.images)
            self.calls = _worth_keeping(calls, sorted(starts.values()), LIMIT * len(few) / (2 * count))
            kept: dict[nn.Module, Any] = {}
            with self._replayed({}, 0, kept):
                run(self.model, few)
            for place in (place for place in places if place.site.name in starts):
                try:
                    with self._gates([place]), self._replayed(kept, starts[place.site.name], None):
                        found = tensors_of(run(self.model, few))
                    wanted = tensors_of(run(gated(self.source, [place], self.values), few))
                except StripeError as error:
                    logger.debug("%s is scored by whole passes: %s", place.site.name, error)
                    continue
                if _close(found, wanted):
                    self.starts[place.site.name] = starts[place.site.name]

    def _follow(self, images: Batch) -> dict[nn.Module, _Call]:
        """The call of each module that runs once, in a forward pass; a result that is no tensor has no size."""
        clock, calls, counts = iter(range(2**62)), {}, Counter[nn.Module]()
        results: list[tuple[_Call, Tensor, int]] = []

        def around(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*args: Any, **kwargs: Any) -> Any:
                counts[module] += 1
                calls[module] = call = _Call(next(clock) + 1)
                result = forward(*args, **kwargs)
                call.end = next(clock) + 1
                leaves = tree_leaves(result)
                if leaves and all(isinstance(leaf, Tensor) for leaf in leaves):
                    call.size = sum(leaf.nbytes for leaf in leaves)
                    results.extend((call, leaf, leaf._version) for leaf in leaves)
                return result

            return timed

        with _wrapped(self.model.modules(), around):
            run(self.model, images)
        for call, tensor, version in results:
            call.changed |= tensor._version != version
        return {module: call for module, call in calls.items() if counts[module] == 1}


def _worth_keeping(calls: Mapping[nn.Module, _Call], starts: Sequence[int], most: float) -> dict[nn.Module, _Call]:
    """The calls whose results are asked for when the network runs from a site on, the small ones first."""
    ends = sorted((call.start, call.end) for call in calls.values())
    found: dict[nn.Module, _Call] = {}
    for module, call in sorted(calls.items(), key=lambda item: item[1].size):
        around = [end for start, end in ends if start < call.start and end > call.end]
        outer = min(around, default=2**62)
        # Where the module around it has ended, too, that one's result is asked for instead.
        if call.size and any(call.end < start < outer for start in starts) and call.size <= most:
            found[module] = call
            most -= call.size
    return found


@contextmanager
def _wrapped(modules: Any, around: Callable[[nn.Module, Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Within, the modules have other forwards; programs of TorchScript, which cannot, keep their own."""
    with ExitStack() as stack:
        for module in list(modules):
            if isinstance(module, torch.jit.ScriptModule):
                continue
            own = module.__dict__.get("forward")
            module.__dict__["forward"] = around(module, module.forward)
            stack.callback(_restore, module, own)
        yield


def _restore(module: nn.Module, own: Any) -> None:
    if own is None:
        del module.__dict__["forward"]
    else:
        module.__dict__["forward"] = own


def _own(result: Any, changed: bool) -> Any:
    """A result; a copy, where the network changes it in place."""
    return tree_map(torch.clone, result) if changed else result


def _close(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    return len(found) == len(wanted) and all(
        got.shape == other.shape and bool((got - other).abs().max() <= TOLERANCE * max(1e-30, float(other.abs().max())))
        for got, other in zip(found, wanted, strict=True)
        if other.numel()
    )
