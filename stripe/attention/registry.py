"""Attention modules by name."""

import re
from collections.abc import Callable
from typing import TypeVar

from stripe.attention.base import Attention
from stripe.errors import StripeError
from stripe.registry import LAST, Registry

__all__ = ["ATTENTION", "register"]

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
