"""Classification of gates: a multiplication is a site if one operand broadcasts over the other.

A site is recognised by its multiplication and not by the class of a module. The kind of a gate follows from the axes
of the map that it keeps; ``stripe.capture.axes`` tells which of them are channels and which are positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

from stripe.capture.axes import CHANNEL, SPATIAL, UNKNOWN, Axes, is_copy

__all__ = ["ATTENTION_KINDS", "Gating", "Shape", "classify", "strip_expanded"]

ATTENTION_KINDS = frozenset({"channel", "spatial", "strip", "branch", "sample", "other"})
"""Kinds of gates that are attention where they depend on the image; normalizations, masks and products are not."""

# Roles of the axes after the batch axis if nothing is known of a map, by the number of its axes.
_DEFAULT: dict[int, tuple[str, ...]] = {
    3: ("token", "channel"),
    4: ("channel", "height", "width"),
    5: ("channel", "depth", "height", "width"),
}
# Roles if the gate keeps the last axis alone, as in channels-last code, (N, H, W, C).
_CHANNELS_LAST: dict[int, tuple[str, ...]] = {
    4: ("height", "width", "channel"),
    5: ("depth", "height", "width", "channel"),
}


@dataclass(frozen=True)
class Shape:
    """Shape of a gate relative to its map.

    Attributes:
        image_axis: Axis of the images.
        groups: Number of entries per image along that axis: groups, windows or frames that the batch axis includes.
        sizes: Sizes of the other axes, 1 for those that the gate broadcasts over.
    """

    image_axis: int
    groups: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Gating:
    """Description of how a gate broadcasts over a map.

    Attributes:
        kind: ``channel``, ``spatial``, ``strip``, ``branch``, ``sample`` (one number per image) or ``other``.
        dims: Names of the axes of the recorded values, without the image axis.
        shape: Sizes of these axes.
        map_shape: Shape of the map without the image axis.
        within: Shape of the gate relative to the map.
    """

    kind: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    map_shape: tuple[int, ...]
    within: Shape


def strip_expanded(gate: Tensor, ndim: int) -> Tensor:
    """Undo ``expand``: shrink axes of stride 0 to size 1, and add missing leading axes of size 1.

    Args:
        gate: A tensor of at most ``ndim`` axes, perhaps expanded (as in ``x * y.expand_as(x)``).
        ndim: Number of axes of the map.

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
    """Classify how a gate broadcasts over a map.

    Args:
        map_shape: Shape of the map.
        map_axes: Roles of the axes of the map.
        gate_shape: Shape of the gate, with as many axes as the map; see ``strip_expanded``.
        gate_axes: Roles of the axes of the gate. An axis that holds copies broadcasts, too.
        images: Number of images N. It must be at least 2, as an image axis of size 1 looks like a broadcast one.

    Returns:
        The kind of the gate and the shape of its values per image; None if the gate does not broadcast over the map,
        or the map has fewer than three axes.
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
            outside = "frame" if inside <= {UNKNOWN, "frame"} else "window" if inside & SPATIAL else "group"
            dims, shape = (outside if outside not in dims else "groups", *dims), (groups, *shape)
        outer = (groups, *outer)
    within = Shape(image_axis, groups, tuple(sizes[axis] for axis in others))
    return Gating(kind, dims, shape, outer, within)


def _image_axis(map_shape: Sequence[int], map_axes: Axes, images: int) -> int | None:
    """The axis of the images; None if there is none, or if the images are not the first factor of their axis.

    If N·k entries hold all images of one group, then all images of the next, the values of an image are scattered.
    """
    for axis, factors in enumerate(map_axes):
        if any(factor.role == "image" for factor in factors):
            return axis if factors[0].role == "image" and factors[0].size == images else None
    known = all(factor.role != UNKNOWN for factor in map_axes[0])
    return 0 if map_shape[0] == images and not known else None


def _roles(map_shape: Sequence[int], map_axes: Axes, image_axis: int, kept: list[int]) -> dict[int, str]:
    """The role of each axis of a map: the known one, or else one that is guessed from its position."""
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
        dropped = [role for axis, role in roles.items() if axis not in kept]
        if surviving <= SPATIAL | {"channel"} and set(dropped) == {"channel"}:  # a map for each group of channels
            return "spatial", tuple("group" if role == "channel" else role for role in names), shape
        if surviving == {"branch", "channel"} or surviving == {"branch"}:
            return "branch", tuple(names), shape
        if surviving <= SPATIAL | {"channel"}:
            return "strip", tuple(names), shape
    return "other", tuple(f"axis{axis}" for axis in kept), shape
