"""From constant gates to weights: backwards into what makes the map, or forwards into what takes it."""

import logging
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from stripe.adapter import Batch
from stripe.fold.absorption import Placed, absorb, tensor_of
from stripe.fold.exactness import TOLERANCE, Trial, same
from stripe.fold.route import place
from stripe.models.dataflow import Call, follow
from stripe.models.graph import replace_module
from stripe.models.merge import merge, tails
from stripe.models.surgery import ConstantGate, Passage, clear

__all__ = ["Landing", "fold_gates"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Landing:
    """Where the constant of a gate went.

    Attributes:
        where: ``backwards`` or ``forwards``; or ``left``: the constant stays a multiplication.
        layers: Names of the layers that took it.
        reason: Why the constant is left.
        merged: Names of the nodes up to which what follows the product was made one with the gate, in that order.
    """

    where: str
    layers: tuple[str, ...] = ()
    reason: str = ""
    merged: tuple[str, ...] = ()


def fold_gates(model: nn.Module, images: Tensor | Batch) -> dict[str, Landing]:
    """Fold every `ConstantGate` of a network into the weights around it, in place.

    Backwards where what makes the map can take it, else forwards, else it stays. Each fold is done in float64 on a copy
    first, and counts only where the outputs stay the same.

    Args:
        model: The network.
        images: (N, 3, H, W), to compare the outputs on; or a batch of another form.

    Where it stays, and the gate stands in a graph, what is done to its product there becomes one with it, as far as
    that is a factor and a shift of each channel (x + w x v + b of a global response normalisation, for example).

    Returns:
        Path of the gate → where its constant went.
    """
    clear(model)
    trial = Trial(model, images)
    landings: dict[str, Landing] = {}
    remaining = [path for path, module in trial.model.named_modules() if isinstance(module, ConstantGate)]
    merged: dict[str, tuple[str, ...]] = dict.fromkeys(remaining, ())
    for eager in (False, True):  # the layers first, and a mere factor of the map where they cannot
        progress = True
        while remaining and progress:  # again, for a gate may have been in another's way
            calls = follow(trial.model, trial.batch)
            found = {path: _fold(model, trial, path, calls, eager=eager) for path in remaining}
            landings |= {path: landing for path, landing in found.items() if landing.layers or not eager}
            remaining = [path for path in remaining if not found[path].layers]
            progress = len(remaining) < len(found)
            for path in [] if eager else remaining:
                until = _merge(model, trial, path)
                if until:
                    merged[path] += (until,)
                    progress = True
    return {path: replace(landing, merged=merged[path]) for path, landing in landings.items()}


def _merge(model: nn.Module, trial: Trial, path: str) -> str:
    """Make one gate of a gate and what is done to its product, in the copy and then in the model; the node, or none."""
    gate = trial.model.get_submodule(path)
    assert isinstance(gate, ConstantGate)
    given: list[Tensor] = []
    handle = gate.register_forward_pre_hook(lambda _, args: given.append(args[0].clone()))
    try:
        trial.outputs()
    finally:
        handle.remove()
    for until, function in tails(trial.model, path) if len(given) == 1 else ():
        found = _affine(function, given[0], gate)
        if found is None:
            continue
        weight, shift = found
        for network in (trial.model, model):
            like = network.get_submodule(path).weight
            assert isinstance(like, Tensor)
            new = ConstantGate(weight.to(like), gate.axis, shift.to(like) if bool(shift.any()) else None)
            replace_module(network, path, new.train(gate.training).requires_grad_(False))
            merge(network, path, until)
        return until
    return ""


def _affine(function: nn.Module, given: Tensor, gate: ConstantGate) -> tuple[Tensor, Tensor] | None:
    """The factor and the shift of each channel that a function of a map does, if it does no more."""
    shape = torch.Size([*gate.weight.shape, *[1] * (-1 - gate.axis)])
    probe = 3 * given.abs().max() * torch.randn(given.shape, generator=torch.Generator().manual_seed(0)).to(given)
    try:
        with torch.no_grad():
            shift = function(torch.zeros_like(given))
            factor = function(torch.ones_like(given)) - shift
            maps = [(function(x.clone()), factor * x + shift) for x in (given, probe)]
    except Exception as error:
        logger.debug("what follows a gate does not run alone: %s", error)
        return None
    if shift.shape != given.shape or not all(same([got], [wanted], TOLERANCE) for got, wanted in maps):
        return None
    kept = []
    for whole in (factor, shift):
        inner = whole[(0,) * (whole.ndim - len(shape))]
        one = inner[tuple(slice(None) if size > 1 else slice(1) for size in shape)]
        if not same([whole], [one.expand_as(whole)], TOLERANCE):
            return None
        kept.append(one.reshape(gate.weight.shape))
    return kept[0], kept[1]


def _fold(model: nn.Module, trial: Trial, path: str, calls: list[Call], *, eager: bool) -> Landing:
    """Fold one gate, in the copy and then in the model."""
    gate = trial.model.get_submodule(path)
    assert isinstance(gate, ConstantGate)
    reasons = []
    for where in ("backwards", "forwards"):
        placed = place(calls, path, forwards=where == "forwards", eager=eager)
        if isinstance(placed, str):
            reasons.append(f"{where}: {placed}")
        elif placed.positive and bool((placed.factor(gate.weight) < 0).any()):
            reasons.append(f"{where}: the constant is partly negative, which ReLU and the like do not pass")
        elif not _stays(trial, path, placed, gate):
            reasons.append(f"{where}: the outputs would change")
        else:
            replace_module(model, path, Passage())
            for layer, name in placed.parameters:  # rounded once, however many constants it took
                with torch.no_grad():
                    tensor_of(model, layer, name).copy_(tensor_of(trial.model, layer, name))
            return Landing(where, placed.layers)
    return Landing("left", reason="; ".join(reasons))


def _stays(trial: Trial, path: str, placed: Placed, gate: ConstantGate) -> bool:
    """Fold in the copy; undo it where the outputs change."""
    before = [(*each, tensor_of(trial.model, *each).clone()) for each in placed.parameters]
    try:
        absorb(trial.model, placed, gate)
        replace_module(trial.model, path, Passage())
        if trial.is_unchanged():
            return True
    except Exception as error:  # a layer of somebody's own may use its weight in its own way
        logger.debug("%s cannot go into %s: %s", path, ", ".join(placed.layers), error)
    replace_module(trial.model, path, gate)
    with torch.no_grad():
        for layer, name, tensor in before:
            tensor_of(trial.model, layer, name).copy_(tensor)
    return False
