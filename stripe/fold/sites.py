"""Sites that can become constants, and constants in their place.

They are modules, or parts of one, that do nothing but multiply their map by the gate.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stripe.adapter import Batch, copy_model, run
from stripe.capture import Recorder, Site, discover
from stripe.errors import StripeError
from stripe.fold.calls import Calls, Frame
from stripe.fold.exactness import Trial
from stripe.models.graph import replace_module, trace
from stripe.models.outline import WHOLE, Outline, calls_of, is_given, outline, outline_undoably
from stripe.models.surgery import ConstantGate, clear

__all__ = ["Foldable", "find_foldable", "gated", "outline_places", "put_gates"]

logger = logging.getLogger(__name__)


PARENTS = 2
"""How many modules around the one that multiplies are tried, too."""


@dataclass(frozen=True)
class Foldable:
    """A site whose attention module a constant can take the place of.

    Attributes:
        site: The site, as discovery found it.
        module: Path of the module that multiplies its first input by the gate.
        axis: The axis of its map that holds the channels, counted from the end.
        outline: How the network gets that module, where gate and multiplication stand in a block's own forward.
    """

    site: Site
    module: str
    axis: int
    outline: Outline | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the constant: (C,), or (branches, C) along two axes of the map."""
        layout = _layout(self.site)
        return layout[0] if layout else self.site.shape


class _Replay(nn.Module):
    """Multiplies by a gate that was recorded, (N, C); a module that nothing was taken out of is given the map alone."""

    def __init__(self, gate: Tensor, axis: int, *, alone: bool) -> None:
        super().__init__()
        self.gate, self.axis, self.alone = gate, axis, alone

    def forward(self, x: Tensor, /, *others: object) -> Tensor:
        if others and self.alone:
            raise TypeError("the module is given more than a map")
        images, *shape = self.gate.shape
        behind = -1 - self.axis
        return x * self.gate.view(images, *[1] * (x.ndim - 1 - len(shape) - behind), *shape, *[1] * behind)


def find_foldable(model: nn.Module, images: Tensor | Batch) -> tuple[list[Foldable], dict[str, str], list[Site]]:
    """Try each site: does the network stay the same when its module only multiplies by the gate as recorded?

    That is tried, not read from class names: in float64, for each image its own gate, the network's outputs must be the
    same. Where a block computes the gate in its own forward, that part is made a module first. From the last site to
    the first, since attention may hand something on to later attention.

    Args:
        model: Any network; not changed.
        images: (N, 3, H, W), two images or more; or a batch of another form.

    Returns:
        The sites that can be folded, the reason for each that can't, and all that depend on the image; in the order of
        the forward pass. `outline_places` gives the network the modules of those that have none.

    Raises:
        StripeError: The network has no attention, or does not run.
    """
    trial = _Trial(model, images)
    sites = [site for site in discover(trial.model, trial.batch.inputs) if site.is_attention]
    if not sites:
        raise StripeError(
            "the network has no attention that depends on the image, so there is nothing to fold; ASR is fused by "
            "`stripe fuse`"
        )
    # Of those alone that can be folded: nobody asks for the others' values.
    reasons = {site.name: reason for site in sites if (reason := _refusal(site))}
    recorded = [site for site in sites if site.name not in reasons]
    dtype = trial.wanted[0].dtype
    gates: dict[str, Tensor] = {}
    if recorded:
        with torch.no_grad(), Recorder(trial.model, recorded, record_input=False, dtype=dtype) as recorder:
            run(trial.model, trial.batch)
            gates = {name: found.attention.to(trial.wanted[0].device) for name, found in recorder.take().items()}
    found = []
    for site in reversed(recorded):
        place = trial.place(site, gates[site.name])
        if isinstance(place, Foldable):
            found.append(place)
        else:
            reasons[site.name] = place
    return found[::-1], reasons, sites


def outline_places(model: nn.Module, places: Sequence[Foldable], chosen: Sequence[Foldable]) -> list[Outline]:
    """Make modules of the gates that stand in the forward of a block, in place.

    Args:
        model: The network that they were found in, or a copy of it.
        places: All that were found, in the order of the forward pass.
        chosen: Those that are wanted. All gates of a block are outlined, or none.

    Returns:
        What was done, in that order, which is the one in which they were found.
    """
    blocks = {place.outline.block for place in chosen if place.outline}
    needed = [place.outline for place in reversed(places) if place.outline and place.outline.block in blocks]
    for each in needed:
        outline(model, each)
    return needed


def _refusal(site: Site) -> str | None:
    """The reason why a site cannot be folded at all; None where it may be."""
    if site.kind not in ("channel", "branch"):
        return f"a {site.kind} gate is no constant per channel"
    if site.within.groups > 1:
        return "its channels are in groups, which were put into the batch axis"
    if _layout(site) is None:
        return "its values lie along axes of the map that are not next to each other"
    return None


def _layout(site: Site) -> tuple[tuple[int, ...], int] | None:
    """The shape of a site's constant, and the last of its axes in the map, counted from the end."""
    sizes = list(site.within.sizes)
    sizes.insert(site.within.image_axis, 1)
    kept = [axis for axis, size in enumerate(sizes) if size > 1]
    if not kept or kept[-1] - kept[0] + 1 != len(kept) or site.within.image_axis != 0:
        return None
    return tuple(sizes[axis] for axis in kept), kept[-1] - len(sizes)


class _Trial(Trial):
    """A copy of the network in which one site after the other multiplies by its gate as recorded."""

    def __init__(self, model: nn.Module, images: Tensor | Batch) -> None:
        super().__init__(model, images)
        if not self.wanted:
            raise StripeError("the model returns no floating-point numbers, so a folded one cannot be compared")
        if not all(output.isfinite().all() for output in self.wanted):
            raise StripeError("the model's outputs are not all finite numbers; its weights may be damaged")
        self.calls = Calls(self.model, self.batch)

    def place(self, site: Site, gate: Tensor) -> Foldable | str:
        """Put a replay in the place of the site's module, or of one around it, or of a part of it; why not, else."""
        if site.module and site.module not in dict(self.model.named_modules(remove_duplicate=False)):
            return "it only helps to compute the gate of another site, with which it goes"
        frames = self.calls.around((site.module, site.call))
        for path, _ in frames[: PARENTS + 1]:
            if not path or self.calls.runs[path] != 1 or path not in dict(self.model.named_modules()):
                break
            axis = self._replay(path, site, gate, alone=True)
            if axis is not None:
                return Foldable(site, path, axis)
        return self._place_part(site, gate, frames[: PARENTS + 2])

    def _place_part(self, site: Site, gate: Tensor, frames: Sequence[Frame]) -> Foldable | str:
        """Look for the multiplication in the forward of each module that was running, from the innermost one."""
        refusal = f"{site.module or 'the model'} does more than multiply its input by the gate"
        reasons, later = [], []
        for level, (path, _) in enumerate(frames):
            if self.calls.runs[path] != 1:
                reasons.append(f"{path} runs {self.calls.runs[path]} times in one forward pass")
                continue
            try:
                name = self.calls.product(path, site.product) if not level else self.calls.call(frames[level - 1])
                graph = trace(self.model, path)
                candidates = calls_of(graph, path, name)
                if level and self.calls.runs[frames[level - 1][0]] == 1:
                    # A module that runs once and takes the map alone was tried as a whole.
                    candidates = [each for each in candidates if each.operand != WHOLE]
                elif not level and site.operand == 0:
                    candidates.reverse()
                given = [each for each in candidates if is_given(graph, each)]
            except StripeError as error:
                reasons.append(f"{refusal}, and {error}")
                continue
            later += given
            for candidate in (each for each in candidates if each not in given):
                if place := self._try(candidate, site, gate):
                    return place
        for candidate in later:  # what computes the gate is no part of the block then, and stays
            if place := self._try(candidate, site, gate):
                return place
        return reasons[0] if reasons else f"{refusal}, and no part of it does that alone"

    def _try(self, candidate: Outline, site: Site, gate: Tensor) -> Foldable | None:
        try:
            path, undo = outline_undoably(self.model, candidate)
        except StripeError as error:
            logger.debug("%s: %s", candidate, error)
            return None
        axis = self._replay(path, site, gate, alone=False) if self._computes_the_same() else None
        if axis is None:
            undo()
            return None
        return Foldable(site, path, axis, candidate)

    def _replay(self, path: str, site: Site, gate: Tensor, *, alone: bool) -> int | None:
        """The axis along which the recorded gate gives the same outputs; the replay stays then."""
        layout = _layout(site)
        assert layout is not None
        shape, last = layout
        axes = [last]
        if len(shape) == 1:  # a module may have changed the order of the axes before it multiplied
            axes += [axis - len(site.map_shape) for axis, size in enumerate(site.map_shape) if size == shape[0]]
        for axis in dict.fromkeys(axes):
            old = replace_module(self.model, path, _Replay(gate.view(len(gate), *shape), axis, alone=alone))
            if self._computes_the_same():
                return axis
            replace_module(self.model, path, old)
        return None

    def _computes_the_same(self) -> bool:
        try:
            return self.is_unchanged()
        except StripeError as error:  # a module took or gave more than a map
            logger.debug("changed, the network does not run: %s", error)
            return False


def put_gates(model: nn.Module, places: Iterable[Foldable], values: Mapping[str, Tensor]) -> list[nn.Module]:
    """Put a constant gate in each place, in place.

    Args:
        model: The network.
        places: The sites.
        values: Name of the site → v, of the shape of its values.

    Returns:
        The modules that were there.
    """
    return [
        replace_module(model, place.module, _gate(model.get_submodule(place.module), model, place, values))
        for place in places
    ]


def gated(model: nn.Module, places: Iterable[Foldable], values: Mapping[str, Tensor]) -> nn.Module:
    """A copy with constant gates. What modules keep of a forward pass (DIA's state) is not copied, so none is stale."""
    copied = copy_model(model)
    put_gates(copied, places, values)
    clear(copied)
    return copied


def _gate(old: nn.Module, model: nn.Module, place: Foldable, values: Mapping[str, Tensor]) -> ConstantGate:
    # There is attention without parameters, and there are networks without.
    tensors = (*old.parameters(), *model.parameters(), *model.buffers(), torch.zeros(()))
    like = next(tensor for tensor in tensors if tensor.is_floating_point())
    value = values[place.site.name].to(like.device, like.dtype, copy=True)
    gate = ConstantGate(value.view(place.shape), place.axis)
    gate.weight.requires_grad_(False)
    return gate.train(old.training)
