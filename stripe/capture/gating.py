"""What makes a multiplication a site: one operand broadcasts over the other.

It is recognised by the multiplication and not by the class of a module. The axes of the map that survive in the gate
tell its kind; which of them are channels and which are positions, `stripe.capture.axes` has followed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

from stripe.capture.axes import CHANNEL, SPATIAL, UNKNOWN, Axes, is_copy

__all__ = ["ATTENTION_KINDS", "Gating", "Shape", "classify", "strip_expanded"]

ATTENTION_KINDS = frozenset({"channel", "spatial", "strip", "branch", "sample", "other"})
"""Kinds of gates that are attention where they depend on the image; normalizations, masks and products are not."""

# What the axes of a map are where nobody has said it, by their number; axis 0 is the batch.
_DEFAULT: dict[int, tuple[str, ...]] = {
    3: ("token", "channel"),
    4: ("channel", "height", "width"),
    5: ("channel", "depth", "height", "width"),
}
# The last axis alone is that of channels-last code, (N, H, W, C).
_CHANNELS_LAST: dict[int, tuple[str, ...]] = {
    4: ("height", "width", "channel"),
    5: ("depth", "height", "width", "channel"),
}


@dataclass(frozen=True)
class Shape:
    """Where the values of a gate lie in the tensor that the map is multiplied by.

    Attributes:
        image_axis: The axis that the images lie along.
        groups: How many rows each image has there: of groups, windows or frames that were put into the batch axis.
        sizes: Sizes of the other axes, 1 for those that the gate broadcasts over.
    """

    image_axis: int
    groups: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Gating:
    """How a gate broadcasts over a map.

    Attributes:
        kind: ``channel``, ``spatial``, ``strip``, ``branch``, ``sample`` (one number an image) or ``other``.
        dims: Names of the axes that a recorded value has, without the image axis.
        shape: Their sizes.
        map_shape: Shape of the map without the image axis.
        within: Where the values lie in the gate's tensor.
    """

    kind: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    map_shape: tuple[int, ...]
    within: Shape


def strip_expanded(gate: Tensor, ndim: int) -> Tensor:
    """Undo ``expand``: an axis of stride 0 holds one value; missing leading axes become axes of size 1.

    Args:
        gate: Any shape of at most ``ndim`` axes, perhaps expanded (as in ``x * y.expand_as(x)``).
        ndim: The number of axes of the map.

    Returns:
        A view of ``gate`` with ``ndim`` axes.
    """
    for axis, (size, stride) in enumerate(zip(gate.shape, gate.stride(), strict=True)):
        if stride == 0 and size > 1:
            gate = gate.narrow(axis, 0, 1)
    return gate[(None,) * (ndim - gate.ndim)]


def classify(
    map_shape: Sequence[int], map_axes: Axes, gate_shape: Sequence[int], gate_axes: Axes, images: int
) -> Gating | None:
    """Say how a gate broadcasts over a map, or None where it does not.

    Args:
        map_shape: At least three axes.
        map_axes: What they are.
        gate_shape: As many axes, those of size 1 broadcast; see `strip_expanded`.
        gate_axes: What they are; one that holds copies broadcasts, too.
        images: N, at least 2, or the image axis could not be told from a broadcast one.

    Returns:
        The kind and the shape of the values, per image.
    """
    ndim = len(map_shape)
    if ndim < 3 or any(g not in (1, m) for m, g in zip(map_shape, gate_shape, strict=True)):
        return None
    image_axis = _image_axis(map_shape, map_axes, images)
    if image_axis is None:
        return None
    groups = map_shape[image_axis] // images
    sizes = [1 if g == 1 or is_copy(axis) else g for g, axis in zip(gate_shape, gate_axes, strict=True)]
    others = [axis for axis in range(ndim) if axis != image_axis]
    if not any(map_shape[axis] > 1 == sizes[axis] for axis in others):
        return None
    kept = [axis for axis in others if sizes[axis] > 1]
    roles = _roles(map_shape, map_axes, image_axis, kept)
    kind, dims, shape = _kind(map_shape, kept, roles)
    outer = tuple(map_shape[axis] for axis in others)
    if groups > 1:
        inside = {factor.role for factor in map_axes[image_axis]} - {"image"}
        if kind == "channel" and inside <= CHANNEL:
            shape = (groups * prod(shape),)
        else:
            dims, shape = ("frame" if inside <= {UNKNOWN, "frame"} else "group", *dims), (groups, *shape)
        outer = (groups, *outer)
    within = Shape(image_axis, groups, tuple(sizes[axis] for axis in others))
    return Gating(kind, dims, shape, outer, within)


def _image_axis(map_shape: Sequence[int], map_axes: Axes, images: int) -> int | None:
    """The axis of the images; None where they are none of it, or not those that come first along it.

    Where N·k rows hold the images of one group after those of another, values of an image are not next to each other.
    """
    for axis, factors in enumerate(map_axes):
        if any(factor.role == "image" for factor in factors):
            return axis if factors[0].role == "image" and factors[0].size == images else None
    known = all(factor.role != UNKNOWN for factor in map_axes[0])
    return 0 if map_shape[0] == images and not known else None


def _roles(map_shape: Sequence[int], map_axes: Axes, image_axis: int, kept: list[int]) -> dict[int, str]:
    """What each axis of a map goes over, by what is known, else by its position."""
    others = [axis for axis in range(len(map_shape)) if axis != image_axis]
    found = {axis: {factor.role for factor in map_axes[axis]} for axis in others if map_shape[axis] > 1}
    roles: dict[int, str] = {}
    for axis, inside in found.items():
        if inside <= CHANNEL:
            roles[axis] = "channel"
        elif inside <= SPATIAL:
            roles[axis] = inside.pop() if len(inside) == 1 else "token"
        elif UNKNOWN not in inside:
            roles[axis] = inside.pop() if len(inside) == 1 else "other"
    names = _DEFAULT.get(len(map_shape), ())
    if not roles and kept == [len(map_shape) - 1]:
        names = _CHANNELS_LAST.get(len(map_shape), names)
    if not roles and len(map_shape) == 5 and kept == [1, 2]:
        names = ("branch", "channel", "height", "width")
    for axis, guess in zip(others, names, strict=False):
        if axis in found and axis not in roles:
            # One axis is the channel: where that is known, the others are positions.
            taken = guess == "channel" and "channel" in roles.values()
            roles[axis] = "token" if taken else guess
    return {axis: roles.get(axis, "other") for axis in others if map_shape[axis] > 1}


def _kind(
    map_shape: Sequence[int], kept: list[int], roles: dict[int, str]
) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    shape = tuple(map_shape[axis] for axis in kept)
    names = [roles[axis] for axis in kept]
    surviving = set(names)
    if not kept:
        return "sample", (), ()
    if surviving == {"channel"}:
        return "channel", ("channel",), (prod(shape),)
    if surviving <= SPATIAL:
        if len(surviving) < len(names):  # two axes of positions, as patches and the pixels in them
            names = ["height", "width"] if len(names) == 2 else [f"axis{axis}" for axis in kept]
        every = len(kept) == sum(role in SPATIAL for role in roles.values())
        return "spatial" if every or surviving >= {"height", "width"} else "strip", tuple(names), shape
    if len(surviving) == len(names):
        if surviving == {"branch", "channel"} or surviving == {"branch"}:
            return "branch", tuple(names), shape
        if surviving <= SPATIAL | {"channel"}:
            return "strip", tuple(names), shape
    return "other", tuple(f"axis{axis}" for axis in kept), shape
