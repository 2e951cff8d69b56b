"""Names of attention modules."""

from collections.abc import Callable
from functools import partial

from torch import nn

from stripe.attention.base import Attention
from stripe.attention.cbam import CBAM, ChannelGate
from stripe.attention.dia import DIA, stage_factory
from stripe.attention.eca import ECA
from stripe.attention.ie import IE
from stripe.attention.se import SE
from stripe.attention.spa import SPA
from stripe.attention.srm import SRM
from stripe.errors import StripeError

__all__ = ["ATTENTION", "attention", "attention_factory"]

# name → class; each is constructed with the number of channels alone.
ATTENTION: dict[str, type[Attention]] = {
    "se": SE,
    "eca": ECA,
    "cbam": CBAM,
    "cbam-channel": ChannelGate,
    "ie": IE,
    "srm": SRM,
    "spa": SPA,
    "dia": DIA,
}


def attention(name: str, channels: int) -> nn.Module:
    """Make an attention module.

    Args:
        name: A key of :data:`ATTENTION`, or ``"none"`` for a module that does nothing and has no parameter.
        channels: C, the number of channels of the maps (N, C, H, W) that it will see.

    Raises:
        StripeError: The name is not known.

    Example:
        >>> attention("se", 64)
        SE(
          (fc1): Linear(in_features=64, out_features=4, bias=True)
          (fc2): Linear(in_features=4, out_features=64, bias=True)
        )
    """
    _check(name)
    return nn.Identity() if name == "none" else ATTENTION[name](channels)


def attention_factory(name: str) -> Callable[[int], nn.Module]:
    """What makes the attention modules of one network, from the number of channels of each.

    It is to be called in the order of the forward pass, for modules that a stage shares (DIA) know those before them;
    a stage is a run of equal numbers of channels.

    Args:
        name: As for :func:`attention`.

    Raises:
        StripeError: The name is not known.
    """
    _check(name)
    return stage_factory() if name == "dia" else partial(attention, name)


def _check(name: str) -> None:
    if name != "none" and name not in ATTENTION:
        raise StripeError(f"unknown attention {name!r}; there are none, {', '.join(ATTENTION)}")
