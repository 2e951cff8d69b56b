"""How a factor per channel propagates: layers absorb it, and functions pass it on, f(x ⊙ v) = f(x) ⊙ v'.

A layer absorbs the factor in its weight, for the channels of its output or of its input. Which element of a function's
result is scaled by which channel's factor is worked out with *labels*: a tensor of the value's shape that holds at each
element the number of the channel whose factor belongs there.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stripe.capture.products import MULTIPLICATIONS
from stripe.models.dataflow import Call, Value

__all__ = [
    "POSITIVE",
    "SPLITS",
    "Absorption",
    "absorb",
    "absorption_of",
    "along",
    "backward",
    "constant_along",
    "forward",
    "input_axis",
    "layer_of",
    "output_axis",
    "parts",
    "passes",
]

_NORMS = frozenset({"batch_norm", "instance_norm", "group_norm"})
_CONVS = frozenset({"conv1d", "conv2d", "conv3d"})
_LEARNED = frozenset({"weight", "bias"})
_TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})


@dataclass(frozen=True)
class Absorption:
    """A layer that takes a constant into its weights.

    Attributes:
        layer: Path of the layer.
        forwards: True: the channels of its input are scaled. False: those of its output.
        channels: For each of these channels the number of the site's channel, int64.
        groups: The number of groups of a convolution.
        transposed: Whether it is a transposed convolution, whose weight is (in, out / groups, …).
    """

    layer: str
    forwards: bool
    channels: Tensor
    groups: int = 1
    transposed: bool = False


def output_axis(call: Call) -> int | None:
    """The axis along which a layer's weight scales its output; None where the function is none of a layer."""
    if call.name in _NORMS | _CONVS | _TRANSPOSED:
        return 1
    if call.name == "linear" or (call.name == "layer_norm" and len(call.argument("normalized_shape", 1)) == 1):
        return -1
    return None


def input_axis(call: Call) -> int | None:
    """The axis of a layer's input along which its weight can be scaled."""
    if call.name in _CONVS | _TRANSPOSED:
        return 1
    return -1 if call.name == "linear" else None


def layer_of(call: Call) -> str | None:
    """Path of the module whose ``weight`` (and ``bias``) a function takes; both must be its own and used only here."""
    owned = [value for value in call.inputs[1:] if value.owner is not None]
    if len(owned) != len(call.inputs) - 1:  # a weight that is computed: parametrized, standardised
        return None
    paths = {value.owner[0] for value in owned if value.owner}
    # Frozen normalisations have them as buffers.
    learned = [
        value
        for value in owned
        if isinstance(value.tensor, nn.Parameter) or (value.owner and value.owner[1] in _LEARNED)
    ]
    names = [value.owner[1] for value in learned if value.owner]
    if len(paths) != 1 or "weight" not in names or not set(names) <= _LEARNED:
        return None
    return paths.pop() if all(_used_once(value) for value in learned) else None


def absorption_of(call: Call, layer: str, channels: Tensor, *, forwards: bool) -> Absorption:
    """How a layer takes a constant, by the function that it calls: any class of module may call it."""
    convolves = call.name in _CONVS | _TRANSPOSED
    groups = call.argument("groups", 6) if convolves else None
    return Absorption(layer, forwards, channels, groups or 1, call.name in _TRANSPOSED)


def absorb(model: nn.Module, absorption: Absorption, value: Tensor) -> None:
    """Multiply a constant into a layer, in place.

    Args:
        model: The network.
        absorption: The layer, and how it takes the constant.
        value: v of the site, (C,).
    """
    layer = model.get_submodule(absorption.layer)
    factor = value[absorption.channels]
    weight, bias = layer.weight, None if absorption.forwards else getattr(layer, "bias", None)
    assert isinstance(weight, Tensor)
    groups = absorption.groups
    with torch.no_grad():
        if weight.ndim == 1 or absorption.forwards == absorption.transposed:  # it is the weight's first axis
            weight.mul_(factor.view(-1, *[1] * (weight.ndim - 1)))
        else:  # (out, in / groups, …), or (in, out / groups, …) of a transposed convolution: a row has its group's
            rows = factor.view(groups, 1, -1).expand(-1, len(weight) // groups, -1).flatten(0, 1)
            weight.mul_(rows.view(*rows.shape, *[1] * (weight.ndim - 2)))
        if isinstance(bias, Tensor):
            bias.mul_(factor)


def _used_once(value: Value) -> bool:
    return len(value.uses) == 1


# Linear, each channel by itself. Dropout is off in evaluation.
_SAME_PLACE = frozenset(
    {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "clone", "contiguous", "to", "float", "double"}
    | {"type_as", "detach"}
)
_PER_CHANNEL = frozenset(
    {"avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"}
    | {"interpolate"}
)
_MOVED = frozenset(
    {"view", "reshape", "flatten", "unflatten", "permute", "transpose", "swapaxes", "movedim", "squeeze", "unsqueeze"}
    | {"flip", "roll", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle"}
)
_MEANS = frozenset({"mean", "sum"})
_DIVISIONS = frozenset({"div", "true_divide", "__truediv__", "__itruediv__"})

POSITIVE = frozenset(
    {"relu", "leaky_relu", "prelu", "abs", "max_pool1d", "max_pool2d", "max_pool3d"}
    | {"adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "amin"}
)
"""Those that only a factor of at least 0 passes: relu(v·x) = v·relu(x)."""

SPLITS = frozenset({"split", "split_with_sizes", "chunk", "tensor_split", "unbind"})
"""Those that make several maps of one, each of some of its channels (or positions)."""

_POSITIVE_IN_PLACE = frozenset({"relu", "leaky_relu", "prelu", "abs"})
_EXTREMES = frozenset({"amax", "amin"})


def passes(call: Call) -> bool:
    """Whether a factor per channel passes a function (a factor ≥ 0, where it is in `POSITIVE`)."""
    if call.name in MULTIPLICATIONS | _DIVISIONS:  # by a number, or by something that broadcasts over the map
        return call.inputs[0].tensor.shape == call.outputs[0].tensor.shape
    if call.name == "pad":  # with zeros
        return call.argument("mode", 2) in (None, "constant") and not call.argument("value", 3)
    return call.name in _SAME_PLACE | _PER_CHANNEL | _MOVED | _MEANS | POSITIVE


def forward(call: Call, labels: Tensor) -> Tensor | None:
    """Labels behind a function, from those in front of it; None where channels are mixed.

    Args:
        call: A call for which `passes` is true.
        labels: A tensor of the shape of its first input.
    """
    shape = call.outputs[0].tensor.shape
    if call.name in _SAME_PLACE | _POSITIVE_IN_PLACE | MULTIPLICATIONS | _DIVISIONS:
        return labels
    if call.name in _MOVED:
        moved: Tensor = call.function(labels, *call.args[1:], **_without_input(call))
        return moved
    if call.name in _MEANS | _EXTREMES:
        dim, keepdim = call.argument("dim", 1), bool(call.argument("keepdim", 2))
        if dim is None:
            return None
        low, high = labels.amin(dim, keepdim=keepdim), labels.amax(dim, keepdim=keepdim)
        return low if torch.equal(low, high) else None
    return _respread(labels, shape)


def parts(call: Call, labels: Tensor) -> list[Tensor]:
    """Labels of each map behind a function of `SPLITS`, from those in front of it."""
    return list(call.function(labels, *call.args[1:], **_without_input(call)))


def backward(call: Call, labels: Tensor) -> Tensor | None:
    """Labels in front of a function, from those behind it; None where that cannot be said.

    Args:
        call: As for `forward`.
        labels: A tensor of the shape of its output.
    """
    shape = call.inputs[0].tensor.shape
    if call.name in _SAME_PLACE | _POSITIVE_IN_PLACE | MULTIPLICATIONS | _DIVISIONS:
        return labels
    if call.name in _MOVED:
        numbers = torch.arange(shape.numel(), device=labels.device).view(shape)
        moved = call.function(numbers, *call.args[1:], **_without_input(call))
        before = torch.empty(shape.numel(), dtype=labels.dtype, device=labels.device)
        before[moved.flatten()] = labels.flatten()
        return before.view(shape)
    if call.name in _MEANS | _EXTREMES:
        return None
    return _respread(labels, shape)


def along(vector: Tensor, axis: int, shape: torch.Size) -> Tensor:
    """A vector (C,) laid along an axis of a tensor of the given shape."""
    return vector.view(-1, *[1] * (len(shape) - 1 - axis % len(shape))).expand(shape)


def constant_along(labels: Tensor, axis: int) -> Tensor | None:
    """The vector that labels hold along an axis; None where they differ along another one, too."""
    rows = labels.movedim(axis, 0).flatten(1)
    return rows[:, 0] if bool((rows == rows[:, :1]).all()) else None


def _respread(labels: Tensor, shape: torch.Size) -> Tensor | None:
    """Per-channel labels of a map (N, C, …) laid over one of another size."""
    vector = constant_along(labels, 1) if labels.ndim == len(shape) > 2 else None
    return along(vector, 1, shape) if vector is not None and len(vector) == shape[1] else None


def _without_input(call: Call) -> dict[str, object]:
    return {name: value for name, value in call.kwargs.items() if name not in ("input", "self")}
