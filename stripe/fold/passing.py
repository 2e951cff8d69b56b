"""Functions that a factor per channel passes: f(x ⊙ v) = f(x) ⊙ v'.

Which element of the result is scaled by which channel's factor is worked out with *labels*: a tensor of the value's
shape that holds at each element the number of the channel whose factor belongs there.
"""

import torch
from torch import Tensor

from stripe.capture.products import MULTIPLICATIONS
from stripe.models.dataflow import Call

__all__ = ["POSITIVE", "SPLITS", "along", "backward", "constant_along", "forward", "parts", "passes"]

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
        call: Of a function that `passes` says yes to.
        labels: Of the shape of its first input.
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
        labels: Of the shape of its output.
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
