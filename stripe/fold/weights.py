"""From constant gates to weights."""

import copy
import logging
from dataclasses import dataclass

from torch import Tensor, nn

from stripe.adapter import Batch
from stripe.fold.absorbing import absorb
from stripe.fold.exactness import Trial
from stripe.fold.placing import Placed, place
from stripe.models.dataflow import Call, follow
from stripe.models.surgery import ConstantGate, replace_module

__all__ = ["Landing", "fold_gates"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Landing:
    """Where the constant of a gate went.

    Attributes:
        where: ``backwards``, ``forwards``, or ``left`` as a multiplication.
        layers: Names of the layers that took it.
        reason: Why it is left.
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
        images: (N, 3, H, W), what to try it on; or a batch of another form.

    Returns:
        Path of the gate → where its constant went.
    """
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
            layers = tuple(absorption.layer for absorption in placed.absorptions)
            replace_module(model, path, nn.Identity())
            for layer in layers:  # rounded once, however many constants it took
                model.get_submodule(layer).load_state_dict(trial.model.get_submodule(layer).state_dict())
            return Landing(where, layers)
    return Landing("left", reason="; ".join(reasons))


def _stays(trial: Trial, path: str, placed: Placed, gate: ConstantGate) -> bool:
    """Fold in the copy; undo it where the outputs change."""
    layers = {absorption.layer: trial.model.get_submodule(absorption.layer) for absorption in placed.absorptions}
    before = {name: copy.deepcopy(layer.state_dict()) for name, layer in layers.items()}
    try:
        for absorption in placed.absorptions:
            absorb(trial.model, absorption, placed.factor(gate.weight))
        replace_module(trial.model, path, nn.Identity())
        if trial.is_unchanged():
            return True
    except Exception as error:  # a layer of somebody's own may use its weight in its own way
        logger.debug("%s cannot go into %s: %s", path, ", ".join(before), error)
    replace_module(trial.model, path, gate)
    for name, layer in layers.items():
        layer.load_state_dict(before[name])
    return False
