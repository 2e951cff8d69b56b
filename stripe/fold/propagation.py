"""How a factor per channel propagates through a function: f(x ⊙ v) = f(x) ⊙ v'.

Which element of a function's result is scaled by which channel's factor is worked out with *labels*: a tensor of the
value's shape that holds at each element the number of the channel whose factor belongs there.
"""

import types

import torch
from torch import Tensor

from stripe.models.dataflow import Call, Value

__all__ = [
    "ADDITIONS",
    "CONCATENATIONS",
    "DIVISIONS",
    "POSITIVE",
    "SPLITS",
    "along",
    "backward",
    "constant_along",
    "forward",
    "input_axis",
    "input_labels",
    "narrowed",
    "output_axis",
    "output_labels",
    "parts",
    "passes",
    "shift_passes",
    "shifted_bias",
    "whole",
]

_NORMS = frozenset({"batch_norm", "instance_norm", "group_norm", "layer_norm"})
_CONVS = frozenset({"conv1d", "conv2d", "conv3d"})
_TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})

ADDITIONS = frozenset({"add", "__add__", "__radd__", "__iadd__", "sub", "subtract", "__sub__", "__rsub__", "__isub__"})
CONCATENATIONS = frozenset({"cat", "concat", "concatenate"})
DIVISIONS = frozenset({"div", "divide", "true_divide", "__truediv__", "__itruediv__"})


def output_axis(call: Call) -> int | None:
    """The axis along which a layer's weight scales its output; None where the function is none of a layer."""
    if call.name == "linear" or (call.name == "layer_norm" and len(call.argument("normalized_shape", 1)) == 1):
        return -1
    return 1 if call.name in (_NORMS | _CONVS | _TRANSPOSED) - {"layer_norm"} else None


def input_axis(call: Call) -> int | None:
    """The axis of a layer's input along which its weight can be scaled."""
    if call.name in _CONVS | _TRANSPOSED:
        return 1
    return -1 if call.name == "linear" else None


def output_labels(call: Call, channels: Tensor) -> dict[Value, Tensor] | None:
    """Labels of the weight and the bias of a layer whose output is to be scaled; None where it has no weight.

    Args:
        call: The function, any class of module may call it.
        channels: For each channel of its output the number of the factor.
    """
    weight, bias = _learned(call)
    if weight is None:
        return None
    shape = weight.tensor.shape
    # A transposed one is (in, out / groups, …): a row has the channels of its group.
    labels = _by_group(channels, call, shape) if call.name in _TRANSPOSED else along(channels, 0, shape)
    return {weight: labels} | ({bias: channels} if bias is not None else {})


def input_labels(call: Call, channels: Tensor) -> dict[Value, Tensor] | None:
    """Labels of the weight of a layer whose input is scaled; None where it has no weight.

    Args:
        call: The function.
        channels: For each channel of its input the number of the factor.
    """
    weight, _ = _learned(call)
    if weight is None:
        return None
    shape = weight.tensor.shape
    if call.name in _TRANSPOSED:
        return {weight: along(channels, 0, shape)}
    return {weight: _by_group(channels, call, shape)}


def _learned(call: Call) -> tuple[Value | None, Value | None]:
    """The weight and the bias that a layer's function takes."""
    # torch.nn.functional's functions of Python take the statistics first.
    first = 1
    if call.name in ("batch_norm", "instance_norm") and isinstance(call.function, types.FunctionType):
        first = 3
    elif call.name in ("group_norm", "layer_norm"):
        first = 2
    found = []
    for name, position in (("weight", first), ("bias", first + 1)):
        tensor = call.argument(name, position)
        found.append(next((value for value in call.inputs if value.tensor is tensor), None))
    return found[0], found[1]


def _by_group(channels: Tensor, call: Call, shape: torch.Size) -> Tensor:
    """Labels of a weight (rows, channels / groups, …) whose rows are in groups, each with channels of its own."""
    groups = (call.argument("groups", 6) or 1) if call.name in _CONVS | _TRANSPOSED else 1
    rows = channels.view(groups, 1, -1).expand(-1, shape[0] // groups, -1).flatten(0, 1)
    return rows.view(*rows.shape, *[1] * (len(shape) - 2)).expand(shape)


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
    | {"flip", "roll", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "reshape_as", "view_as"}
)
_MEANS = frozenset({"mean", "sum"})

POSITIVE = frozenset(
    {"relu", "leaky_relu", "prelu", "abs", "max_pool1d", "max_pool2d", "max_pool3d"}
    | {"adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "amin"}
)
"""Those that only a factor of at least 0 passes: relu(v·x) = v·relu(x)."""

SPLITS = frozenset({"split", "split_with_sizes", "chunk", "tensor_split", "unbind"})
"""Those that make several maps of one, each of some of its channels (or positions)."""

_POSITIVE_IN_PLACE = frozenset({"relu", "leaky_relu", "prelu", "abs"})
_EXTREMES = frozenset({"amax", "amin"})


def shift_passes(call: Call) -> bool:
    """Whether a constant that is added to each channel passes a function as a factor does."""
    return call.name in _SAME_PLACE | _MOVED | {"mean"}


def shifted_bias(call: Call) -> Value | None:
    """The bias of a layer that can take what its weight makes of a constant added to each channel of its input."""
    padding = call.argument("padding", 4) if call.name in _CONVS else 0
    bare = padding in (None, 0, "valid") or (isinstance(padding, tuple | list) and not any(padding))
    return _learned(call)[1] if bare and call.name in _CONVS | {"linear"} else None


def passes(call: Call) -> bool:
    """Whether a factor per channel of its first input passes a function (a factor ≥ 0, where it is in `POSITIVE`)."""
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
    if call.name in _SAME_PLACE | _POSITIVE_IN_PLACE:
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
    if call.name in _SAME_PLACE | _POSITIVE_IN_PLACE:
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


def whole(call: Call, labels: dict[Value, Tensor], other: int) -> Tensor:
    """Labels in front of a function of `SPLITS`, from those of the maps behind it.

    Args:
        call: The function.
        labels: Those of some of its outputs.
        other: What stands at the elements of all other outputs.
    """
    shape = call.inputs[0].tensor.shape
    device = next(iter(labels.values())).device
    numbers = torch.arange(shape.numel(), device=device).view(shape)
    before = torch.full((shape.numel(),), other, device=device)
    for output, places in zip(call.outputs, parts(call, numbers), strict=True):
        if output in labels:
            before[places.flatten()] = labels[output].flatten()
    return before.view(shape)


def narrowed(labels: Tensor, shape: torch.Size) -> Tensor | None:
    """Labels of a factor that broadcasts, from those of what it broadcasts to; None where they differ there."""
    kept = labels
    while kept.ndim > len(shape):
        if not bool((kept == kept[:1]).all()):
            return None
        kept = kept[0]
    for axis, size in enumerate(shape):
        if size == 1 < kept.shape[axis]:
            if not bool((kept == kept.narrow(axis, 0, 1)).all()):
                return None
            kept = kept.narrow(axis, 0, 1)
    return kept if kept.shape == shape else None


def _respread(labels: Tensor, shape: torch.Size) -> Tensor | None:
    """Per-channel labels of a map (N, C, …) laid over one of another size."""
    vector = constant_along(labels, 1) if labels.ndim == len(shape) > 2 else None
    return along(vector, 1, shape) if vector is not None and len(vector) == shape[1] else None


def _without_input(call: Call) -> dict[str, object]:
    return {name: value for name, value in call.kwargs.items() if name not in ("input", "self")}
