"""Networks whose structure is changed: modules replaced, constants in the place of attention."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from stripe.errors import StripeError
from stripe.models.graph import replace_module, tidy
from stripe.models.merge import merge
from stripe.models.outline import Outline, outline

__all__ = ["ConstantGate", "Outline", "Passage", "clear", "replace_module", "restructure"]

MOST_CHANNELS = 1 << 20
"""A file that says more is damaged."""


class ConstantGate(nn.Module):
    """``y = x ⊙ v`` with a constant v, one number per channel: what is left of attention that became a constant.

    Args:
        value: v, (C,); where the maps have an axis of branches before that of the channels, (branches, C).
        axis: The axis of the maps that holds the channels, counted from the end: -3 of (N, C, H, W), -1 of (N, T, C).
        shift: b of ``y = x ⊙ v + b``, of the shape of v, where what was done to the product is one with the gate.
    """

    def __init__(self, value: Tensor, axis: int, shift: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(value)
        self.axis = axis
        self.shift = None if shift is None else nn.Parameter(shift)

    def forward(self, x: Tensor, /, *_: Any) -> Tensor:
        """Maps (N, C, H, W) or tokens (N, T, C), of the same shape; what a gate was computed of besides is ignored."""
        shape = (*self.weight.shape, *[1] * (-1 - self.axis))
        product = x * self.weight.view(shape)
        return product if self.shift is None else product + self.shift.view(shape)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"{'×'.join(map(str, self.weight.shape))}, axis={self.axis}"

    def described(self) -> dict[str, Any]:
        """The gate without its values, as `restructure` takes it."""
        shape = list(self.weight.shape)
        description = {"channels": shape[0] if len(shape) == 1 else shape, "axis": self.axis}
        return description if self.shift is None else {**description, "shifted": True}


class Passage(nn.Identity):
    """Returns the map, whatever else it is given: what is left of a gate whose constant is in the weights around it."""

    def forward(self, input: Tensor, /, *_: Any) -> Tensor:
        """The map, as it is."""
        return input


def clear(model: nn.Module) -> None:
    """Take away, in place, what was computed for gates alone that are constants now."""
    tidy(model, (ConstantGate, Passage))


def restructure(model: nn.Module, folded: Any, source: str) -> None:
    """Take attention out of a network as a description says, in place. Its weights are to be loaded afterwards.

    Args:
        model: As it was built, with attention.
        folded: A description with two or three entries. ``outlined``: the attention that had to be made a module first,
            see `Outline`, in the order in which that was done. ``gates``: path of a site's module → None where the
            constant is in the weights around it, else the ``channels`` and the ``axis`` of the multiplication that is
            left, and whether it is ``shifted``, see `ConstantGate`. ``merged``: path of such a module and name of the
            node up to which it is one with what follows, see `stripe.models.merge.merge`.
        source: The file that the description stands in, for the error.

    Raises:
        StripeError: The description is damaged, or is one of another network.
    """
    try:
        for block, product, operand in folded["outlined"]:
            outline(model, Outline(block, product, operand))
        for path, left in folded["gates"].items():
            if not path:
                raise StripeError("a gate has no name")
            gate = Passage() if left is None else _blank(**left)
            replace_module(model, path, gate.train(model.training))
        clear(model)
        for path, until in folded.get("merged", []):
            merge(model, path, until)
    except (AttributeError, LookupError, TypeError, ValueError, StripeError) as error:
        raise StripeError(
            f"{source}: what was folded in it does not fit the model ({error or type(folded).__name__}); "
            "name the model that it was folded from with model="
        ) from error


def _blank(channels: int | list[int], axis: int, shifted: bool = False) -> ConstantGate:
    shape: list[Any] = channels if isinstance(channels, list) and len(channels) == 2 else [channels]
    sizes = all(type(size) is int and 0 < size <= MOST_CHANNELS for size in shape)
    if not sizes or math.prod(shape) > MOST_CHANNELS or type(axis) is not int or not -4 <= axis <= -1:
        raise StripeError(f"{channels!r} channels along the axis {axis!r} are no gate")
    return ConstantGate(torch.ones(shape), axis, torch.zeros(shape) if shifted else None)
