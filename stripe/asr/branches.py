"""Residual branches of a network and their last layers, read from the data flow.

Additions are found by the functions that a network calls, not by the names of its classes. An addition of two maps
joins a *branch* and a *shortcut*: the shortcut is the map that both are computed from, or a projection of it with fewer
layers. If neither has a nonlinearity, both are parts of one layer, and their addition is a *sum* (RepVGG, ACNet).
"""

from dataclasses import dataclass, field
from functools import reduce
from operator import or_

from torch import nn

from stripe.asr.layers import foldable
from stripe.models.dataflow import Call, Value

__all__ = ["Flow"]

Group = tuple[str, ...]

ADDITIONS = frozenset({"add", "radd", "iadd"})
MULTIPLICATIONS = frozenset({"mul", "multiply", "rmul", "imul"})
CONCATENATIONS = frozenset({"cat", "concat", "concatenate"})
NORMS = frozenset({"batch_norm", "instance_norm", "group_norm", "layer_norm"})
CONVOLUTIONS = frozenset(f"conv{transposed}{n}d" for n in (1, 2, 3) for transposed in ("", "_transpose"))
WEIGHTED = CONVOLUTIONS | {"linear", "multi_head_attention_forward"}
ATTENTION = frozenset({"scaled_dot_product_attention", "multi_head_attention_forward", "softmax"})
PRODUCTS = frozenset({"matmul", "rmatmul", "bmm", "baddbmm", "einsum", "scaled_dot_product_attention"})
ACTIVATIONS = frozenset(
    {"relu", "relu6", "hardtanh", "hardswish", "silu", "gelu", "elu", "leaky_relu", "prelu", "mish", "selu", "celu"}
    | {"softplus", "rrelu", "threshold", "clamp", "clamp_min", "tanh"}
)
GATES = frozenset({"sigmoid", "hardsigmoid", "softmax"})  # a factor that ends in one of these is a gate for the other
UNCHANGED = frozenset({"dropout", "dropout2d", "contiguous", "clone", "to", "permute"}) | ADDITIONS  # of one map
SPREAD = frozenset({"expand", "expand_as", "repeat", "interpolate", "broadcast_to"})
NONLINEAR = ACTIVATIONS | GATES | PRODUCTS | ATTENTION | {"max_pool2d", "normalize"}


@dataclass
class Flow:
    """The data flow of one forward pass, and the branches in it.

    Attributes:
        calls: Calls of the pass, from ``stripe.models.dataflow.follow``.
        model: The network that ran.
        order: Position of each layer in the pass, by its name.
        residual: Last layers of the residual branches; layers whose outputs are summed share one ASR.
        sums: Parts of a layer whose outputs are summed, by the addition.
        activated: Normalisations and sums that an activation follows directly, outside of residual branches.
        appended: Last layers of the branches that are concatenated with their input.
    """

    calls: list[Call]
    model: nn.Module
    order: dict[str, int] = field(default_factory=dict)
    residual: list[Group] = field(default_factory=list)
    sums: dict[int, Group] = field(default_factory=dict)
    activated: list[Group] = field(default_factory=list)
    appended: list[Group] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._number: dict[int, int] = {}
        self._before: dict[int, int] = {}  # for each value, itself and the values that it depends on, as bits
        self._weighted = self._nonlinear = self._normalised = 0
        self._images = self._bit(self.calls[0].inputs[0]) if self.calls and self.calls[0].inputs else 0
        for when, call in enumerate(self.calls):
            above = 0
            for value in call.inputs:
                above |= self._before_of(value)
            for value in call.outputs:
                self._before[id(value)] = above | self._bit(value)
                self._weighted |= self._bit(value) if call.name in WEIGHTED else 0
                self._normalised |= self._bit(value) if call.name in NORMS else 0
                self._nonlinear |= self._bit(value) if call.name in NONLINEAR else 0
            layer = self._layer(call)
            if layer is not None:
                self.order[layer] = when
        self._maps, self._inside = self._seen_by_the_output(), 0
        for call in self.calls:
            operands = self._operands(call)
            if len(operands) == 2 and call.outputs[0].tensor.ndim >= 3 and id(call.outputs[0]) in self._maps:
                self._join(call, *operands)
        for call in self.calls:
            value = call.outputs[0]
            if call.name in ACTIVATIONS and id(value) in self._maps and not self._bit(value) & self._inside:
                self.activated += self._activated(call)
            if call.name in CONCATENATIONS and id(value) in self._maps:
                self.appended += self._appended(call)

    @property
    def attends(self) -> bool:
        """Whether tokens attend to each other."""
        return any(call.name in ATTENTION and call.outputs[0].tensor.ndim >= 3 for call in self.calls)

    def _activated(self, activation: Call) -> list[Group]:
        before = activation.inputs[0].made_by if activation.inputs else None
        while before and before.name.strip("_") in UNCHANGED and len(before.inputs) == 1:
            before = before.inputs[0].made_by
        if before is None:
            return []
        layer = self._layer(before) if before.name in NORMS else None
        sums = self.sums.get(id(before))
        return [sums] if sums else [(layer,)] if layer else []

    def _appended(self, concatenation: Call) -> list[Group]:
        before = [self._before_of(part) for part in concatenation.inputs]
        ends = [
            self._ends(part, reduce(or_, before[:index] + before[index + 1 :], 0))
            for index, part in enumerate(concatenation.inputs)
        ]
        return [] if all(ends) else [group for part in ends for group in part or []]

    def _join(self, call: Call, one: Value, other: Value) -> None:
        """Note which branches an addition of two maps joins."""
        first, second = self._before_of(one), self._before_of(other)
        common = first & second
        ends = [self._ends(value, common) for value in (one, other)]
        own = [before & ~common for before in (first, second)]
        if all(ends):
            depths = [(region & self._weighted).bit_count() for region in own]
            parts = [group for part in ends for group in part or []]
            if depths[0] == depths[1] or not any(region & self._nonlinear for region in own):
                if all(len(part or []) == 1 for part in ends):
                    self.sums[id(call)] = tuple(layer for group in parts for layer in group)
                return
            chosen = 0 if depths[0] > depths[1] else 1
        elif any(ends):
            chosen = 0 if ends[0] else 1
            # One convolution that is added to its own input without a normalisation encodes positions of tokens.
            if (own[chosen] & self._weighted).bit_count() < 2 and not own[chosen] & self._normalised:
                return
        else:
            return
        self.residual += ends[chosen] or []
        self._inside |= own[chosen]

    def _ends(self, value: Value, common: int) -> list[Group] | None:
        """The last layers before a map; None if it is a shortcut, or a sum of branches and shortcuts."""
        while not self._bit(value) & common and value.made_by is not None:
            call = value.made_by
            if id(call) in self.sums:
                return [self.sums[id(call)]]
            layer = self._layer(call)
            if layer is not None:
                return [(layer,)]
            if call.name in PRODUCTS or len(self._operands(call)) == 2:
                return None
            if call.name in CONCATENATIONS:
                parts = [self._ends(part, common) for part in call.inputs]
                return [group for part in parts for group in part or []] if all(parts) else None
            inputs = _weighed(call) or [part for part in call.inputs if self._of_images(part)]
            if not inputs:
                return None
            value = inputs[0]
        return None

    def _operands(self, call: Call) -> list[Value]:
        """The two maps of an addition; empty for any other call."""
        if call.name.strip("_") not in ADDITIONS or len(call.outputs) != 1:
            return []
        shape = call.outputs[0].tensor.shape
        maps = [value for value in call.inputs if self._of_images(value) and value.tensor.shape == shape]
        return maps if len(maps) == 2 and len({id(value) for value in maps}) == 2 else []

    def _layer(self, call: Call) -> str | None:
        """The layer that a call belongs to, if its weight can be scaled: it is not shared and is used once."""
        if call.name not in WEIGHTED | NORMS:
            return None
        output = call.name == "multi_head_attention_forward"
        weights = [call.argument("out_proj_weight", 11)] if output else []
        owned = [
            value
            for value in call.inputs[1:]
            if value.owner is not None
            and value.owner[1] == "weight"
            and (not output or value.tensor is weights[0])
            and len(value.uses) == 1
        ]
        if len(owned) != 1 or owned[0].owner is None:
            return None
        path = owned[0].owner[0]
        return path if foldable(self.model.get_submodule(path)) else None

    def _seen_by_the_output(self) -> set[int]:
        """The values that reach the output by a path that is not the gate of a multiplication."""
        values = {id(value): value for call in self.calls for value in call.outputs}
        waiting = [value for value in values.values() if value.returned] or list(values.values())
        seen: set[int] = set()
        while waiting:
            value = waiting.pop()
            if id(value) not in seen:
                seen.add(id(value))
                if value.made_by is not None:
                    waiting += _weighed(value.made_by) or value.made_by.inputs
        return seen

    def _of_images(self, value: Value) -> bool:
        return bool(self._before_of(value) & self._images)

    def _bit(self, value: Value) -> int:
        return 1 << self._number.setdefault(id(value), len(self._number))

    def _before_of(self, value: Value) -> int:
        """The values that a value depends on; parameters and constants depend on none, and do not count."""
        if value.owner is not None:
            return 0
        return self._before.get(id(value)) or self._bit(value)


def _weighed(call: Call) -> list[Value]:
    """The maps of a multiplication, without its gates and constants; empty for any other call."""
    if call.name.strip("_") not in MULTIPLICATIONS or len(call.outputs) != 1:
        return []
    shape = call.outputs[0].tensor.shape
    return [value for value in call.inputs if value.tensor.shape == shape and not _is_gate(value)]


def _is_gate(value: Value) -> bool:
    while value.made_by is not None and value.made_by.name in SPREAD:
        before = value.made_by.inputs[0]
        if before.tensor.numel() < value.tensor.numel():
            return True
        value = before
    return value.owner is not None or (value.made_by is not None and value.made_by.name in GATES)
