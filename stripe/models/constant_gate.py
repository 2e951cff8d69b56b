"""What is left of attention that became a constant: one multiplication a channel, or nothing."""

from typing import Any

import torch
from torch import Tensor, nn

from stripe.errors import StripeError
from stripe.models.outlining import Outline, outline
from stripe.models.replacing import replace_module

__all__ = ["ConstantGate", "restructure"]


MOST_CHANNELS = 1 << 20
"""A file that says more is damaged."""


class ConstantGate(nn.Module):
    """``y = x ⊙ v`` with a constant v, a number a channel.

    Args:
        value: v, (C,).
        axis: Which axis of the maps holds the channels, counted from the end: -3 of (N, C, H, W), -1 of (N, T, C).
    """

    def __init__(self, value: Tensor, axis: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(value)
        self.axis = axis

    def forward(self, x: Tensor, /) -> Tensor:
        """Maps (N, C, H, W) or tokens (N, T, C), of the same shape."""
        return x * self.weight.view(-1, *[1] * (-1 - self.axis))

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"{self.weight.numel()}, axis={self.axis}"


def restructure(model: nn.Module, folded: Any, source: str) -> None:
    """Take attention out of a network as a description says, in place; the weights are loaded afterwards.

    Args:
        model: As it was built, with attention.
        folded: ``outlined``, what of it had to be made a module first, see `stripe.models.outlining.Outline`, in that
            order; and ``gates``, a site's module → None where the constant is in the weights around it, else the
            ``channels`` and the ``axis`` of the multiplication that is left, see `ConstantGate`.
        source: The file that it stands in, for the error.

    Raises:
        StripeError: The description is damaged, or is one of another network.
    """
    try:
        for block, product, operand in folded["outlined"]:
            outline(model, Outline(block, product, operand))
        for path, left in folded["gates"].items():
            if not path:
                raise StripeError("a gate has no name")
            gate = nn.Identity() if left is None else _blank(**left)
            replace_module(model, path, gate.train(model.training))
    except (AttributeError, LookupError, TypeError, ValueError, StripeError) as error:
        raise StripeError(
            f"{source}: what was folded in it does not fit the model ({error or type(folded).__name__}); "
            "name the model that it was folded from with --model"
        ) from error


def _blank(channels: int, axis: int) -> ConstantGate:
    if type(channels) is not int or type(axis) is not int or not 0 < channels <= MOST_CHANNELS or not -4 <= axis <= -1:
        raise StripeError(f"{channels!r} channels along the axis {axis!r} are no gate")
    return ConstantGate(torch.ones(channels), axis)
