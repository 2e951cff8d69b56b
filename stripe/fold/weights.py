"""From constant gates to weights: backwards into what makes the map, or forwards into what takes it."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stripe.adapter import Batch
from stripe.capture.products import MULTIPLICATIONS
from stripe.fold.exactness import Trial
from stripe.fold.propagation import (
    POSITIVE,
    SPLITS,
    Absorption,
    absorb,
    absorption_of,
    along,
    backward,
    constant_along,
    forward,
    input_axis,
    layer_of,
    output_axis,
    parts,
    passes,
)
from stripe.models.dataflow import Call, Value, follow
from stripe.models.outline import replace_module
from stripe.models.surgery import ConstantGate, Passage, clear

__all__ = ["Landing", "Placed", "fold_gates", "place"]

logger = logging.getLogger(__name__)


_ADDITIONS = frozenset({"add", "__add__", "__radd__", "__iadd__"})


class _StopError(Exception):
    """The way ends at something that a factor does not pass; the message says at what."""


@dataclass
class Placed:
    """The layers that together take a constant.

    Attributes:
        absorptions: All of them; each output's or each input's way ends in one.
        positive: Whether on the way is something that only factors of at least 0 pass.
        residual: Whether what they take is (1 + v) / 2: of x + x ⊙ v, which without the gate is x + x.
    """

    absorptions: list[Absorption] = field(default_factory=list)
    positive: bool = False
    residual: bool = False

    def factor(self, constant: Tensor) -> Tensor:
        """What the layers take, for a gate's constant v."""
        return (1 + constant) / 2 if self.residual else constant


def place(calls: list[Call], gate: str, axis: int, *, forwards: bool) -> Placed | str:
    """Find the layers that can take the constant of a gate.

    Args:
        calls: The data flow of the network, see `stripe.models.dataflow.follow`.
        gate: Path of the `stripe.models.surgery.ConstantGate`.
        axis: The axis of the map that holds the channels, counted from the end.
        forwards: Into what takes the product, else into what made the map.

    Returns:
        The layers, or what is in the way.
    """
    product = next(
        (call for call in calls if call.module == gate and call.name in MULTIPLICATIONS and len(call.inputs) == 2), None
    )
    if product is None:
        return "the multiplication was not seen"
    value = product.outputs[0]
    channels = value.tensor.shape[axis]
    labels = along(torch.arange(channels, device=value.tensor.device), axis, value.tensor.shape)
    placed = Placed()
    try:
        if forwards:
            if len(value.uses) == 1 and not value.returned and _adds(value.uses[0], value, product.inputs[0]):
                placed.residual, value = True, value.uses[0].outputs[0]
            _forwards(value, labels, placed)
        else:
            _backwards(product.inputs[0], labels, placed)
    except _StopError as stop:
        return str(stop)
    layers = [absorption.layer for absorption in placed.absorptions]
    return placed if len(set(layers)) == len(layers) else f"{layers[0]} would be scaled twice"


def _adds(call: Call, *values: Value) -> bool:
    """Whether a call adds these values, and nothing else."""
    return call.name in _ADDITIONS and not call.kwargs and len(call.args) == 2 and set(call.inputs) == set(values)


def _backwards(value: Value, labels: Tensor, placed: Placed) -> None:
    """Towards what made a value; it must have no other use than the one that we come from."""
    call = value.made_by
    if value.returned or len(value.uses) != 1:
        raise _StopError(f"the map is used {len(value.uses) + value.returned} times")
    if call is None or len(call.outputs) != 1:
        raise _StopError("the map is the network's own input" if call is None else f"{call.name} makes several maps")
    axis = output_axis(call)
    if axis is not None:
        _take(call, axis, labels, placed, forwards=False)
    elif call.name in _ADDITIONS:
        if any(part.tensor.shape != value.tensor.shape for part in call.inputs) or call.kwargs:
            raise _StopError("something is added that broadcasts over the map")
        for part in call.inputs:
            _backwards(part, labels, placed)
    elif call.name in ("cat", "concat", "concatenate"):
        dim = call.argument("dim", 1) or 0
        sizes = [part.tensor.shape[dim] for part in call.inputs]
        for part, share in zip(call.inputs, torch.split(labels, sizes, dim), strict=True):
            _backwards(part, share, placed)
    else:
        before = _through(call, labels, placed, backward)
        _backwards(call.inputs[0], before, placed)


def _forwards(value: Value, labels: Tensor, placed: Placed) -> None:
    """Towards what takes a value; all that take it must take the constant."""
    if value.returned:
        raise _StopError("the network returns it")
    for call in value.uses:
        if call.name in SPLITS and call.inputs == [value]:
            for part, share in zip(call.outputs, parts(call, labels), strict=True):
                _forwards(part, share, placed)
            continue
        if call.inputs[0] is not value or value in call.inputs[1:] or len(call.outputs) != 1:
            raise _StopError(f"{call.name} takes it together with another map")
        axis = input_axis(call)
        if axis is not None:
            _take(call, axis, labels, placed, forwards=True)
        else:
            _forwards(call.outputs[0], _through(call, labels, placed, forward), placed)


def _take(call: Call, axis: int, labels: Tensor, placed: Placed, *, forwards: bool) -> None:
    layer, channels = layer_of(call), constant_along(labels, axis)
    if layer is None:
        raise _StopError(f"{call.name} in {call.module} has no weight that is its own and used once")
    if channels is None:
        raise _StopError(f"{layer} mixes its channels")
    placed.absorptions.append(absorption_of(call, layer, channels, forwards=forwards))


def _through(call: Call, labels: Tensor, placed: Placed, step: Callable[[Call, Tensor], Tensor | None]) -> Tensor:
    if not passes(call):
        raise _StopError(f"{call.name} in {call.module or 'the model'} lets no factor pass")
    placed.positive |= call.name in POSITIVE
    moved = step(call, labels)
    if moved is None:
        raise _StopError(f"{call.name} in {call.module or 'the model'} mixes channels")
    return moved


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
            layers = tuple(absorption.layer for absorption in placed.absorptions)
            replace_module(model, path, Passage())
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
        replace_module(trial.model, path, Passage())
        if trial.is_unchanged():
            return True
    except Exception as error:  # a layer of somebody's own may use its weight in its own way
        logger.debug("%s cannot go into %s: %s", path, ", ".join(before), error)
    replace_module(trial.model, path, gate)
    for name, layer in layers.items():
        layer.load_state_dict(before[name])
    return False
