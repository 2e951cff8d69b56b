"""From a network with attention to one of which some was folded, as a file describes it."""

from typing import Any

import torch
from torch import nn

from stripe.errors import StripeError
from stripe.models.constant_gate import ConstantGate
from stripe.models.outlining import Outline, outline
from stripe.models.replacing import replace_module

__all__ = ["restructure"]

MOST_CHANNELS = 1 << 20
"""A file that says more is damaged."""


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
