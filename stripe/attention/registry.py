"""Names of attention modules."""

import re
from collections.abc import Callable
from typing import TypeVar

from torch import nn

from stripe.attention.base import Attention
from stripe.errors import StripeError
from stripe.names import did_you_mean
from stripe.registry import LAST, Registry

__all__ = ["ATTENTION", "attention", "attention_factory", "register"]

Class = TypeVar("Class", bound=type[Attention])

ATTENTION: Registry[type[Attention]] = Registry("stripe.attention", "an attention module")
"""Name → class, in the order of lists; each class is constructed with the number of channels alone."""


def register(name: str, *, place: int = LAST) -> Callable[[Class], Class]:
    """Give an attention module a name: a decorator of its class.

    With it the module is known to ``build``, ``reparameterize``, ``stripe train --attention``, recipes, ``+NAME`` of
    ``stripe bench`` and error messages. In this folder the decorator is all that a new file needs to be found, and to
    be named by ``--help``. A module of your own, in any file, is known once that file is imported.

    Args:
        name: Lower-case letters, digits and hyphens.
        place: The place in lists, from the lowest to the highest; modules of one place go by name.

    Raises:
        StripeError: The name is taken, or is no such name; or what is decorated is no ``Attention``.

    Example:
        >>> import torch
        >>> from stripe.attention import Attention, attention
        >>> @register("half")
        ... class Half(Attention):
        ...     def __init__(self, channels):
        ...         super().__init__()
        ...
        ...     def gate(self, x):
        ...         return torch.full_like(x[..., :1, :1], 0.5)
        >>> attention("half", 64)
        Half()
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise StripeError(
            f"{name!r} cannot be the name of an attention module; take lower-case letters, digits and hyphens"
        )

    def decorate(cls: Class) -> Class:
        if not (isinstance(cls, type) and issubclass(cls, Attention)):
            raise StripeError(f"what is registered as {name!r} is no subclass of stripe.attention.Attention")
        if name == "none":
            raise StripeError("there is an attention module 'none' already, which does nothing")
        ATTENTION.add(name, cls, place=place)
        return cls

    return decorate


def attention(name: str, channels: int) -> nn.Module:
    """Make an attention module.

    Args:
        name: A key of ``ATTENTION``, or ``"none"`` for a module that does nothing and has no parameter.
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
    return attention_factory(name)(channels)


def attention_factory(name: str) -> Callable[[int], nn.Module]:
    """What makes the attention modules of one network, from the number of channels of each.

    It is to be called in the order of the forward pass, for modules that a stage shares (DIA) know those before them;
    a stage is a run of equal numbers of channels.

    Args:
        name: As for ``attention``.

    Raises:
        StripeError: The name is not known.
    """
    if name == "none":
        return lambda channels: nn.Identity()
    if name not in ATTENTION:
        raise StripeError(
            f"unknown attention {name!r}; there are none, {', '.join(ATTENTION)}{did_you_mean(name, ATTENTION)}"
        )
    return ATTENTION[name].factory()
