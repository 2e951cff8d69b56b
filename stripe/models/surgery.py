"""Networks whose structure is changed: modules replaced, constants in the place of attention."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from stripe.errors import StripeError
from stripe.models.outline import Outline, outline, replace_module, tidy

__all__ = ["ConstantGate", "Outline", "Passage", "clear", "replace_module", "restructure"]

MOST_CHANNELS = 1 << 20
"""A file that says more is damaged."""


class ConstantGate(nn.Module):
    """``y = x ⊙ v`` with a constant v, one number per channel: what is left of attention that became a constant.

    Args:
        value: v, (C,); where the maps have an axis of branches before that of the channels, (branches, C).
        axis: The axis of the maps that holds the channels, counted from the end: -3 of (N, C, H, W), -1 of (N, T, C).
    """

    def __init__(self, value: Tensor, axis: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(value)
        self.axis = axis

    def forward(self, x: Tensor, /, *_: Any) -> Tensor:
        """Maps (N, C, H, W) or tokens (N, T, C), of the same shape; what a gate was computed of besides is ignored."""
        return x * self.weight.view(*self.weight.shape, *[1] * (-1 - self.axis))

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"{'×'.join(map(str, self.weight.shape))}, axis={self.axis}"

    def described(self) -> dict[str, Any]:
        """The gate without its values, as `restructure` takes it."""
        shape = list(self.weight.shape)
        return {"channels": shape[0] if len(shape) == 1 else shape, "axis": self.axis}


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
        folded: A description with two entries. ``outlined``: the attention that had to be made a module first, see
            `Outline`, in the order in which that was done. ``gates``: path of a site's module → None where the constant
            is in the weights around it, else the ``channels`` and the ``axis`` of the multiplication that is left, see
            `ConstantGate`.
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
    except (AttributeError, LookupError, TypeError, ValueError, StripeError) as error:
        raise StripeError(
            f"{source}: what was folded in it does not fit the model ({error or type(folded).__name__}); "
            "name the model that it was folded from with --model"
        ) from error


def _blank(channels: int | list[int], axis: int) -> ConstantGate:
    shape = channels if isinstance(channels, list) else [channels]
    sizes = bool(shape) and all(type(size) is int and size > 0 for size in shape) and math.prod(shape) <= MOST_CHANNELS
    if not sizes or len(shape) > 2 or type(axis) is not int or not -4 <= axis <= -1:
        raise StripeError(f"{channels!r} channels along the axis {axis!r} are no gate")
    return ConstantGate(torch.ones(shape), axis)
