"""The layers that can take the constant of a gate: the ways backwards from its map, or forwards from its product."""

from collections import defaultdict

import torch
from torch import Tensor, nn

from stripe.capture.products import MULTIPLICATIONS
from stripe.fold.absorption import Absorption, Placed, Shift
from stripe.fold.propagation import (
    ADDITIONS,
    CONCATENATIONS,
    DIVISIONS,
    POSITIVE,
    SPLITS,
    backward,
    constant_along,
    forward,
    input_axis,
    input_labels,
    narrowed,
    output_axis,
    output_labels,
    parts,
    passes,
    shift_passes,
    shifted_bias,
    whole,
)
from stripe.models.dataflow import Call, Value

__all__ = ["place"]

_EXPANSIONS = frozenset({"expand", "expand_as", "broadcast_to"})


class _StopError(Exception):
    """The way ends at something that a factor does not pass; the message says at what."""


def place(calls: list[Call], gate: str, *, forwards: bool, eager: bool = False) -> Placed | str:
    """Find the parameters that can take the constant of a gate.

    Args:
        calls: The data flow of the network, see `stripe.models.dataflow.follow`.
        gate: Path of the `stripe.models.surgery.ConstantGate`.
        forwards: Into what takes the product, else into what made the map.
        eager: Whether the first parameter that the map is multiplied by takes the constant, rather than layers.

    Returns:
        The parameters, or what is in the way.
    """
    product = next(
        (call for call in calls if call.module == gate and call.name in MULTIPLICATIONS and len(call.inputs) == 2), None
    )
    if product is None:
        return "the multiplication was not seen"
    constant, value = product.inputs[1].tensor, product.outputs[0]
    labels = torch.arange(constant.numel(), device=constant.device).view(constant.shape).expand(value.tensor.shape)
    way = _Way(calls, product, labels, constant.numel(), eager=eager)
    try:
        return way.forwards() if forwards else way.backwards()
    except _StopError as stop:
        return str(stop)


class _Way:
    """What is to be scaled so that one gate's constant is no more needed.

    Args:
        calls: The data flow.
        product: The multiplication by the constant.
        labels: Of its map.
        one: The label of what is not scaled.
        eager: See `place`.
    """

    def __init__(self, calls: list[Call], product: Call, labels: Tensor, one: int, *, eager: bool) -> None:
        self.calls, self.product, self.labels, self.one, self.eager = calls, product, labels, one, eager
        self.placed = Placed()
        self.demands: defaultdict[Value, list[Tensor]] = defaultdict(list)
        made = product.outputs[0]
        self.shifted = len(made.uses) == 1 and made.uses[0].module == product.module
        self.base, self.sum = product.inputs[0], made.uses[0] if self.shifted else None
        found = None if self.shifted else _sum_with_map(product)
        if found:
            self.sum, self.base, self.placed.residual = found

    def backwards(self) -> Placed:
        """Towards what made the map; it must have no other use than the multiplication."""
        if self.shifted:
            raise _StopError("something is added to the map")
        self.demands[self.base] += [self.labels] * (1 if self.placed.residual is None else 2)
        self._settle()
        return self.placed

    def forwards(self) -> Placed:
        """Towards what takes the product; all that take it must take the constant."""
        start = self.sum or self.product
        scaled = {start.outputs[0]: self.labels}
        for call in self.calls[self.calls.index(start) + 1 :]:
            hits = [value for value in call.inputs if value in scaled]
            if hits:
                scaled |= self._scaled_behind(call, hits, scaled)
        if any(value.returned for value in scaled):
            raise _StopError("the network returns it")
        self._settle()
        return self.placed

    def _scaled_behind(self, call: Call, hits: list[Value], scaled: dict[Value, Tensor]) -> dict[Value, Tensor]:
        """Labels of what a function makes, some of whose inputs are scaled."""
        first, where = hits[0], call.module or "the model"
        if self.shifted and not shift_passes(call):
            self._shift(call, first, scaled[first])
        together = f"{call.name} takes it together with another map"
        if call.name in SPLITS and call.inputs == hits:
            return dict(zip(call.outputs, parts(call, scaled[first]), strict=True))
        if len(call.outputs) != 1:
            raise _StopError(f"{call.name} in {where} makes several maps")
        output = call.outputs[0]
        if call.name in ADDITIONS and _adds_nothing(call):
            return {output: scaled[first]}
        if call.name in ADDITIONS:
            if len(hits) != len(call.inputs) or len(hits) < 2 or call.kwargs:
                raise _StopError(together if len(call.inputs) > 1 else f"{call.name} in {where} lets no factor pass")
            if not all(torch.equal(scaled[value], scaled[first]) for value in hits):
                raise _StopError(f"{call.name} in {where} mixes channels")
            return {output: scaled[first]}
        if call.name in CONCATENATIONS:
            dim = call.argument("dim", 1) or 0
            whole = [
                scaled.get(value, torch.full_like(value.tensor, self.one, dtype=torch.int64)) for value in call.inputs
            ]
            return {output: torch.cat(whole, dim)}
        if call.name in MULTIPLICATIONS | DIVISIONS and len(hits) == 1:
            return self._through_product(call, output, first, scaled[first])
        if len(hits) > 1 or call.inputs[0] is not first:
            raise _StopError(together)
        axis = input_axis(call)
        if axis is None:
            return {output: self._moved(call, forward(call, scaled[first]) if passes(call) else None)}
        channels = constant_along(scaled[first], axis)
        if channels is None:
            raise _StopError(f"{where} mixes its channels")
        self._take(call, input_labels(call, channels))
        return {}

    def _shift(self, call: Call, value: Value, labels: Tensor) -> None:
        """The bias that takes what the layer makes of a constant that was added to its input."""
        axis, bias = input_axis(call), shifted_bias(call)
        channels = None if axis is None else constant_along(labels, axis)
        found = None if channels is None else input_labels(call, channels)
        if not found or bias is None or bias.owner is None or len(bias.uses) != 1 or not bias.saved:
            raise _StopError(f"{call.name} in {call.module or 'the model'} takes nothing that is added to the map")
        weight, share = next(iter(found.items()))
        if weight.owner is None:
            raise _StopError(f"{call.name} in {call.module or 'the model'} has a weight that is computed")
        self.placed.shifts.append(Shift(*bias.owner, Absorption(*weight.owner, share)))

    def _through_product(self, call: Call, output: Value, value: Value, labels: Tensor) -> dict[Value, Tensor]:
        others = [other for other in call.inputs if other is not value]
        if self.eager and others and others[0].constant and value.tensor.shape == output.tensor.shape:
            factor = narrowed(labels, others[0].tensor.shape)
            if factor is not None:
                self.demands[others[0]].append(factor)
                return {}
        if call.name in DIVISIONS and call.argument("input", 0) is not value.tensor:
            raise _StopError(f"{call.name} in {call.module or 'the model'} lets no factor pass")
        return {output: labels.expand(output.tensor.shape)}

    def _settle(self) -> None:
        """From what is to be scaled to the parameters that it is made of."""
        for call in reversed(self.calls):
            demanded = {output: self._demanded(output) for output in call.outputs if output in self.demands}
            if demanded:
                self._before(call, demanded)
        for value in list(self.demands):
            if value.made_by is not None:
                continue
            if value.owner is None:
                raise _StopError("the map is the network's own input")
            labels = self._demanded(value)
            layer, name = value.owner
            learned = isinstance(value.tensor, nn.Parameter) or name in ("weight", "bias")
            if not learned or not value.saved or not value.tensor.is_floating_point():
                raise _StopError(f"{name} in {layer or 'the model'} is no parameter")
            self.placed.absorptions.append(Absorption(layer, name, labels))
        self.placed.absorptions.reverse()

    def _demanded(self, value: Value) -> Tensor:
        """The labels of a value that all that use it demand."""
        wanted = self.demands[value]
        if value.returned or len(value.uses) != len(wanted):
            if value.owner is not None:
                raise _StopError(f"{value.owner[0] or 'the model'} has no {value.owner[1]} that is used once")
            raise _StopError(f"the map is used {len(value.uses) + value.returned} times")
        if not all(torch.equal(labels, wanted[0]) for labels in wanted):
            raise _StopError("the map is to be scaled in two ways")
        return wanted[0]

    def _before(self, call: Call, demanded: dict[Value, Tensor]) -> None:
        """Hand on what is demanded of a function's outputs to its inputs."""
        if call.name in SPLITS:
            self.demands[call.inputs[0]].append(whole(call, demanded, self.one))
            return
        if len(call.outputs) != 1 or not call.inputs:
            raise _StopError(f"{call.name} makes {'several maps' if call.inputs else 'constants'}")
        output, labels = call.outputs[0], demanded[call.outputs[0]]
        axis = output_axis(call)
        if axis is not None:
            channels = constant_along(labels, axis)
            if channels is None:
                raise _StopError(f"{call.module or call.name} mixes its channels")
            self._take(call, output_labels(call, channels))
        elif call.name in ADDITIONS:
            self._before_sum(call, output, labels)
        elif call.name in CONCATENATIONS:
            dim = call.argument("dim", 1) or 0
            sizes = [part.tensor.shape[dim] for part in call.inputs]
            for part, share in zip(call.inputs, torch.split(labels, sizes, dim), strict=True):
                self.demands[part].append(share)
        elif call.name == "stack":
            for part, share in zip(call.inputs, labels.unbind(call.argument("dim", 1) or 0), strict=True):
                self.demands[part].append(share)
        elif call.name in MULTIPLICATIONS | DIVISIONS:
            self._before_product(call, output, labels)
        else:
            if call.name in _EXPANSIONS:
                before = narrowed(labels, call.inputs[0].tensor.shape)
            else:
                before = backward(call, labels) if passes(call) else None
            self.demands[call.inputs[0]].append(self._moved(call, before))

    def _before_sum(self, call: Call, output: Value, labels: Tensor) -> None:
        if call.kwargs or (len(call.inputs) < 2 and not _adds_nothing(call)):
            raise _StopError(f"{call.name} in {call.module or 'the model'} lets no factor pass")
        for part in call.inputs:
            share = narrowed(labels, part.tensor.shape)
            if share is None or (part.tensor.shape != output.tensor.shape and not part.constant):
                raise _StopError("something is added that broadcasts over the map")
            self.demands[part].append(share)

    def _before_product(self, call: Call, output: Value, labels: Tensor) -> None:
        """One factor is scaled: the map, of constants the smallest that can be."""
        factors = (
            call.inputs
            if call.name in MULTIPLICATIONS
            else [value for value in call.inputs if value.tensor is call.argument("input", 0)]
        )
        maps = [value for value in factors if not value.constant and value.tensor.shape == output.tensor.shape]
        constants = sorted((value for value in factors if value.constant), key=lambda value: value.tensor.numel())
        for value in constants + maps if self.eager or output.constant else maps[:1]:
            share = narrowed(labels, value.tensor.shape)
            if share is not None:
                self.demands[value].append(share)
                return
        raise _StopError(f"{call.name} in {call.module or 'the model'} lets no factor pass")

    def _take(self, call: Call, labels: dict[Value, Tensor] | None) -> None:
        if labels is None:
            raise _StopError(f"{call.name} in {call.module or 'the model'} has no weight")
        for value, share in labels.items():
            if not value.constant:
                raise _StopError(f"{call.name} in {call.module or 'the model'} has a weight that is computed of images")
            self.demands[value].append(share)

    def _moved(self, call: Call, labels: Tensor | None) -> Tensor:
        if labels is None:
            how = "mixes channels" if passes(call) else "lets no factor pass"
            raise _StopError(f"{call.name} in {call.module or 'the model'} {how}")
        self.placed.positive |= call.name in POSITIVE
        return labels


def _adds_nothing(call: Call) -> bool:
    """Whether a call adds the number 0, as sums do that begin with it."""
    return len(call.inputs) == 1 and not call.kwargs and all(isinstance(arg, Tensor) or arg == 0 for arg in call.args)


def _sum_with_map(product: Call) -> tuple[Call, Value, float] | None:
    """Where x + k x ⊙ v is computed of a product x ⊙ v: the sum, x, and k, a number."""
    value, weight = product.outputs[0], 1.0
    while len(value.uses) == 1 and (number := _number(value.uses[0])) is not None:
        value, weight = value.uses[0].outputs[0], weight * number
    call = value.uses[0] if len(value.uses) == 1 and not value.returned else None
    if call is None or call.name not in ADDITIONS or call.kwargs or len(call.args) != 2 or len(call.inputs) != 2:
        return None
    base = product.inputs[0]
    while value is not base and base not in call.inputs:
        number = _number(base.made_by) if base.made_by else None
        if number is None or base.made_by is None:
            return None
        base, weight = base.made_by.inputs[0], weight * number
    if "sub" in call.name:
        weight = -weight if call.inputs == [base, value] and call.name != "__rsub__" else -1.0
    return (call, base, weight) if value is not base and weight != -1 else None


def _number(call: Call) -> float | None:
    """The number by which a call multiplies its only tensor."""
    if call.name not in MULTIPLICATIONS | DIVISIONS or len(call.inputs) != 1 or len(call.outputs) != 1 or call.kwargs:
        return None
    numbers = [arg for arg in call.args if isinstance(arg, int | float)]
    divides = call.name in DIVISIONS
    if (
        len(numbers) != 1
        or len(call.args) != 2
        or (divides and (not numbers[0] or isinstance(call.args[0], int | float)))
    ):
        return None
    return 1 / numbers[0] if divides else float(numbers[0])
