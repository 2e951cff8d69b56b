"""From constant gates to weights: backwards into what makes the map, or forwards into what takes it."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stripe.adapter import Batch
from stripe.fold.exactness import Trial
from stripe.fold.route import Absorption, Placed, absorb, place
from stripe.models.dataflow import Call, follow
from stripe.models.outline import replace_module
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
    """

    where: str
    layers: tuple[str, ...] = ()
    reason: str = ""


def fold_gates(model: nn.Module, images: Tensor | Batch) -> dict[str, Landing]:
    """Fold every `ConstantGate` of a network into the weights around it, in place.

    Backwards where what makes the map can take it, else forwards, else it stays. Each fold is done in float64 on a copy
    first, and counts only where the outputs stay the same.

    Args:
        model: The network.
        images: (N, 3, H, W), to compare the outputs on; or a batch of another form.

    Returns:
        Path of the gate → where its constant went.
    """
    clear(model)
    trial = Trial(model, images)
    landings: dict[str, Landing] = {}
    remaining = [path for path, module in trial.model.named_modules() if isinstance(module, ConstantGate)]
    progress = True
    while remaining and progress:  # again, for a gate may have been in another's way
        calls = follow(trial.model, trial.batch)
        for path in remaining:
            landings[path] = _fold(model, trial, path, calls)
        before, remaining = remaining, [path for path in remaining if landings[path].where == "left"]
        progress = len(remaining) < len(before)
    return landings


def _fold(model: nn.Module, trial: Trial, path: str, calls: list[Call]) -> Landing:
    """Fold one gate, in the copy and then in the model."""
    gate = trial.model.get_submodule(path)
    assert isinstance(gate, ConstantGate)
    reasons = []
    for where in ("backwards", "forwards"):
        placed = place(calls, path, gate.axis, forwards=where == "forwards")
        if isinstance(placed, str):
            reasons.append(f"{where}: {placed}")
        elif placed.positive and bool((placed.factor(gate.weight) < 0).any()):
            reasons.append(f"{where}: the constant is partly negative, which ReLU and the like do not pass")
        elif not _stays(trial, path, placed, gate):
            reasons.append(f"{where}: the outputs would change")
        else:
            replace_module(model, path, Passage())
            for each in placed.absorptions:  # rounded once, however many constants it took
                with torch.no_grad():
                    _tensor(model, each).copy_(_tensor(trial.model, each))
            return Landing(where, placed.layers)
    return Landing("left", reason="; ".join(reasons))


def _tensor(model: nn.Module, absorption: Absorption) -> Tensor:
    tensor: Tensor = getattr(model.get_submodule(absorption.layer), absorption.name)
    return tensor


def _stays(trial: Trial, path: str, placed: Placed, gate: ConstantGate) -> bool:
    """Fold in the copy; undo it where the outputs change."""
    before = [(each, _tensor(trial.model, each).clone()) for each in placed.absorptions]
    try:
        for absorption in placed.absorptions:
            absorb(trial.model, absorption, placed.factor(gate.weight))
        replace_module(trial.model, path, Passage())
        if trial.is_unchanged():
            return True
    except Exception as error:  # a layer of somebody's own may use its weight in its own way
        logger.debug("%s cannot go into %s: %s", path, ", ".join(placed.layers), error)
    replace_module(trial.model, path, gate)
    with torch.no_grad():
        for each, tensor in before:
            _tensor(trial.model, each).copy_(tensor)
    return False
