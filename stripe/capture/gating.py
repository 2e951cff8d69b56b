"""What makes a multiplication a site: one operand broadcasts over the other.

Attention "acts in a multiplicative manner" (Stripe Observation paper, eq. 4: x' = x ⊙ v), so it is recognised by the
multiplication and not by the class of a module. The axes of the map that survive in the gate tell its kind.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

__all__ = ["MULTIPLICATIONS", "Gating", "broadcast_axes", "classify", "operands", "strip_expanded"]

# Names under which torch functions and Tensor methods multiply; operators (`*`, `*=`) arrive as these, too.
MULTIPLICATIONS = frozenset({"mul", "mul_", "multiply", "multiply_", "__mul__", "__rmul__", "__imul__"})

# (number of map axes, surviving axes) → (kind, dimension names). Axis 0 is the batch.
_KINDS: dict[tuple[int, frozenset[int]], tuple[str, tuple[str, ...]]] = {
    # tokens (N, T, C)
    (3, frozenset({2})): ("channel", ("channel",)),
    (3, frozenset({1})): ("spatial", ("token",)),
    # maps (N, C, H, W); {3} alone is the channel axis of channels-last code (N, H, W, C)
    (4, frozenset({1})): ("channel", ("channel",)),
    (4, frozenset({3})): ("channel", ("channel",)),
    (4, frozenset({2, 3})): ("spatial", ("height", "width")),
    (4, frozenset({1, 2})): ("strip", ("channel", "height")),
    (4, frozenset({1, 3})): ("strip", ("channel", "width")),
    (4, frozenset({2})): ("strip", ("height",)),
    # branches (N, M, C, H, W) or video (N, C, T, H, W)
    (5, frozenset({1})): ("channel", ("channel",)),
    (5, frozenset({4})): ("channel", ("channel",)),
    (5, frozenset({1, 2})): ("branch", ("branch", "channel")),
    (5, frozenset({3, 4})): ("spatial", ("height", "width")),
    (5, frozenset({2, 3, 4})): ("spatial", ("depth", "height", "width")),
}


@dataclass(frozen=True)
class Gating:
    """How a gate broadcasts over a map.

    Attributes:
        kind: ``channel``, ``spatial``, ``strip``, ``branch``, ``sample`` (one number an image) or ``other``.
        dims: Names of the axes that a recorded value has, without the image axis.
        shape: Their sizes.
        map_shape: Shape of the map without the batch axis.
    """

    kind: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    map_shape: tuple[int, ...]


def operands(args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[Tensor, Tensor] | None:
    """The two floating-point tensors of a multiplication, or None where it isn't one of two such tensors."""
    pair = (*args, *(kwargs[key] for key in ("input", "other") if key in kwargs))[:2]
    if len(pair) < 2:
        return None
    a, b = pair
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.is_floating_point() and b.is_floating_point():
        return a, b
    return None


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


def broadcast_axes(map_shape: torch.Size, gate_shape: torch.Size) -> tuple[int, ...]:
    """Axes, without the batch's, over which a (stripped) gate is constant and the map is not a single element."""
    sizes = zip(map_shape[1:], gate_shape[1:], strict=True)
    return tuple(axis for axis, (m, g) in enumerate(sizes, start=1) if g == 1 and m > 1)


def classify(feature_map: Tensor, gate: Tensor, batch: int) -> Gating | None:
    """Say how ``gate`` broadcasts over ``feature_map``, or None where it does not.

    Args:
        feature_map: (N·k, …) with at least three axes; k > 1 where groups were folded into the batch axis.
        gate: Already stripped of expanded axes, as many axes as the map.
        batch: N, the number of images; at least 2, or the batch axis could not be told from a broadcast one.

    Returns:
        The kind and the shape of the values, per image.
    """
    if feature_map.ndim < 3 or feature_map.shape[0] % batch:
        return None
    if any(g not in (1, m) for m, g in zip(feature_map.shape, gate.shape, strict=True)):
        return None
    if not broadcast_axes(feature_map.shape, gate.shape):
        return None
    surviving = [a for a in range(1, gate.ndim) if gate.shape[a] > 1]
    default = ("other", tuple(f"axis{a}" for a in surviving)) if surviving else ("sample", ())
    kind, dims = _KINDS.get((feature_map.ndim, frozenset(surviving)), default)
    if kind == "strip" and surviving == [1, 2] and feature_map.shape[1] == feature_map.shape[2] != feature_map.shape[3]:
        kind, dims = "spatial", ("height", "width")  # square maps of channels-last code (N, H, W, C)
    shape = tuple(gate.shape[a] for a in surviving)
    groups = feature_map.shape[0] // batch
    map_shape = tuple(feature_map.shape[1:])
    if groups > 1:
        if kind == "channel":
            shape = (groups * prod(shape),)
        else:
            dims, shape = ("group", *dims), (groups, *shape)
        map_shape = (groups, *map_shape)
    return Gating(kind, dims, shape, map_shape)
