"""What the axes of a tensor are, followed from function to function.

Whether axis 1 or 3 is the channel cannot be told from a shape. It can from where the tensor comes from: a convolution
puts its channels on axis 1, a linear layer on the last one, and every view, permutation and sum afterwards moves them
in a known way. An axis is a product of *factors*: after ``flatten(2)`` a map has the axis height × width, after
``view(N * T, C, H, W)`` the first axis is image × frame. An axis of size 1 has no factors; one that holds copies of a
single value (``repeat``, ``expand``, enlarged from one pixel) has the factor ``copy``.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

__all__ = [
    "CHANNEL",
    "COPY",
    "SPATIAL",
    "UNKNOWN",
    "Axes",
    "Factor",
    "axis_of",
    "broadcast",
    "concatenated",
    "convolved",
    "copies",
    "expanded",
    "is_copy",
    "of_images",
    "of_one_image",
    "reduced",
    "repeated",
    "reshaped",
    "resized",
    "unknown",
]


class Factor(NamedTuple):
    """A part of an axis: the role of its entries, such as ``channel``, and their number."""

    role: str
    size: int


Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]

COPY = "copy"
UNKNOWN = "?"
CHANNEL = frozenset({"channel", "group"})
SPATIAL = frozenset({"depth", "height", "width", "length", "token"})


def axis_of(role: str, size: int) -> Axis:
    """An axis with a single factor, or with none if its size is 1."""
    return (Factor(role, size),) if size != 1 else ()


def unknown(shape: Sequence[int]) -> Axes:
    """The axes of a tensor of which nothing is known."""
    return tuple(axis_of(UNKNOWN, size) for size in shape)


def copies(shape: Sequence[int]) -> Axes:
    """The axes of a tensor whose elements are all equal."""
    return tuple(axis_of(COPY, size) for size in shape)


def of_images(shape: Sequence[int]) -> Axes:
    """The axes of a network's input: (N, C, H, W) if there are four, else the images and unknown axes."""
    names = ("image", "channel", "height", "width") if len(shape) == 4 else ("image",)
    return tuple(axis_of(names[i] if i < len(names) else UNKNOWN, size) for i, size in enumerate(shape))


def of_one_image(shape: Sequence[int]) -> Axes:
    """The axes of one image that is a tensor of its own: (C, H, W) if there are three, else unknown."""
    return of_images((1, *shape))[1:]


def is_copy(axis: Axis) -> bool:
    """Whether an axis holds copies of one value."""
    return bool(axis) and all(factor.role == COPY for factor in axis)


def reshaped(axes: Axes, shape: Sequence[int]) -> Axes:
    """The axes after a view: the same factors in the same order, divided anew among the axes.

    A channel axis that is split becomes groups and channels, which become channels again when they are joined. From
    the first factor that cannot be split as the shape asks, the axes are unknown.
    """
    rest = [factor for axis in axes for factor in axis]
    if prod(shape) != prod(factor.size for factor in rest):
        return unknown(shape)
    found: list[Axis] = []
    for position, size in enumerate(shape):
        axis: list[Factor] = []
        missing = size
        while missing > 1:
            role, count = rest.pop(0)
            if missing % count == 0:
                axis.append(Factor(role, count))
                missing //= count
            elif count % missing == 0 and role != "image":
                axis.append(Factor("group" if role == "channel" else role, missing))
                rest.insert(0, Factor(role, count // missing))
                missing = 1
            else:
                return (*found, *unknown(shape[position:]))
        found.append(_merged(axis))
    return tuple(found)


def _merged(axis: Sequence[Factor]) -> Axis:
    """Join adjacent factors of one role, and groups with their channels, into one factor."""
    merged: list[Factor] = []
    for factor in axis:
        before = merged[-1] if merged else None
        if before and before.role == factor.role:
            merged[-1] = Factor(factor.role, before.size * factor.size)
        elif before and {before.role, factor.role} == CHANNEL:
            merged[-1] = Factor("channel", before.size * factor.size)
        else:
            merged.append(factor)
    return tuple(merged)


def expanded(axes: Axes, shape: Sequence[int]) -> Axes:
    """The axes after ``expand``: axes that are new, or that grew from size 1, hold copies."""
    axes = ((),) * (len(shape) - len(axes)) + axes
    return tuple(axis or axis_of(COPY, size) for axis, size in zip(axes, shape, strict=True))


def repeated(axes: Axes, shape: Sequence[int]) -> Axes:
    """The axes after ``repeat``: an axis of one value holds copies, another axis that grew is unknown."""
    axes = ((),) * (len(shape) - len(axes)) + axes
    return tuple(
        axis_of(COPY, size)
        if not axis or is_copy(axis)
        else axis
        if prod(factor.size for factor in axis) == size
        else axis_of(UNKNOWN, size)
        for axis, size in zip(axes, shape, strict=True)
    )


def broadcast(operands: Sequence[tuple[Axes, Sequence[int]]], shape: Sequence[int]) -> Axes:
    """The axes after an elementwise operation: each is taken from the operand of which most is known."""
    found = []
    for back in range(1, len(shape) + 1):
        size = shape[-back]
        candidates = [
            axes[-back]
            for axes, own in operands
            if len(own) >= back and own[-back] == size and len(axes) >= back and axes[-back]
        ]
        found.append(max(candidates, key=_knowledge, default=()) if size > 1 else ())
    return tuple(found[::-1])


def _knowledge(axis: Axis) -> int:
    """Rank of an axis in ``broadcast``. Copies rank lowest: an operand that varies makes the result vary."""
    if is_copy(axis):
        return 0
    return 1 if any(factor.role == UNKNOWN for factor in axis) else 2


def reduced(axes: Axes, dims: Sequence[int] | None, keepdim: bool) -> Axes:
    """The axes after a sum, mean, maximum … over ``dims``; None stands for all axes."""
    count = len(axes)
    gone = {dim % count for dim in dims} if dims else set(range(count))
    if keepdim:
        return tuple(() if i in gone else axis for i, axis in enumerate(axes))
    return tuple(axis for i, axis in enumerate(axes) if i not in gone)


def resized(axes: Axes, old: Sequence[int], new: Sequence[int]) -> Axes:
    """The axes after an operation that changes only their sizes: pooling, padding, slicing, enlarging."""
    found: list[Axis] = []
    for axis, before, after in zip(axes, old, new, strict=True):
        if before == after:
            found.append(axis)
        elif before == 1 or is_copy(axis):
            found.append(axis_of(COPY, after))
        else:
            roles = {factor.role for factor in axis}
            role = roles.pop() if len(roles) == 1 else "token" if roles <= SPATIAL else UNKNOWN
            found.append(axis_of(role if role != "image" else UNKNOWN, after))
    return tuple(found)


def concatenated(parts: Sequence[Axes], dim: int, shape: Sequence[int]) -> Axes:
    """The axes after a concatenation along ``dim``."""
    dim %= len(shape)
    roles = {factor.role for part in parts if len(part) == len(shape) for factor in part[dim]}
    if roles <= CHANNEL and roles:
        role = "channel"
    elif roles and roles <= SPATIAL | {UNKNOWN} and roles & SPATIAL:
        role = "token" if len(roles) > 1 else roles.pop()
    else:
        role = roles.pop() if len(roles) == 1 and not roles & {"image", COPY} else UNKNOWN
    known = max((part for part in parts if len(part) == len(shape)), key=lambda part: sum(map(_knowledge, part)))
    return tuple(axis_of(role, size) if i == dim else known[i] for i, size in enumerate(shape))


_NAMES: dict[int, tuple[str, ...]] = {3: ("length",), 4: ("height", "width"), 5: ("depth", "height", "width")}


def convolved(axes: Axes, shape: Sequence[int]) -> Axes:
    """The axes after a convolution: axis 1 holds channels, or tokens if a 1-d convolution mixes tokens there."""
    found: list[Axis] = [axes[0]]
    for i, size in enumerate(shape[1:], start=1):
        roles = {factor.role for factor in axes[i]} if i < len(axes) else set()
        if i == 1 and axes[1][:1] and axes[1][0].role == "image" and size % axes[1][0].size == 0:
            # A convolution with separate weights for each image: each group of channels is one image.
            found.append((axes[1][0], *axis_of("channel", size // axes[1][0].size)))
            continue
        if i == 1:
            # Positions on axis 1 become channels in a map (patches); in a sequence of tokens they are mixed.
            role = "token" if len(shape) == 3 and roles and roles <= SPATIAL else "channel"
        elif roles and UNKNOWN not in roles and COPY not in roles:
            role = roles.pop() if len(roles) == 1 else "token" if roles <= SPATIAL else UNKNOWN
        else:
            role = _NAMES.get(len(shape), (UNKNOWN,) * len(shape))[i - 2]
        found.append(axis_of(role, size))
    return tuple(found)


def dims_of(value: Any) -> list[int] | None:
    """A ``dim`` argument as a list; None stands for all axes."""
    if value is None:
        return None
    return [value] if isinstance(value, int) else [int(dim) for dim in value] or None
