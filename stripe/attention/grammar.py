"""How attention is written: a name, its order and options, combinations, and lists for the blocks of a network.

============================= =====================================================================================
``se``                        a registered name, see ``stripe.attention.register``
``cbam:sa>ca``                a name and an order of its halves: ``ca>sa``, ``sa>ca``, ``ca|sa`` (half of each, in
                              parallel), ``ca`` or ``sa`` alone
``cbam:ca>sa,k=3``            options after commas: see ``Attention.options`` of each module
``spsa+se``                   a combination: SPSA, then SE
``se/none/spsa+se/eca``       a list: one for each block, in the order of the forward pass
============================= =====================================================================================
"""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import nn

from stripe.attention.base import Attention
from stripe.attention.blocks import BlockList
from stripe.attention.combination import Combination
from stripe.attention.registry import ATTENTION
from stripe.errors import StripeError
from stripe.names import did_you_mean

__all__ = ["attention", "attention_factory", "for_every_block"]

Make = Callable[[int], nn.Module]

_NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", re.IGNORECASE)
"""Numbers as people write them, without what Python allows besides, such as 1_000."""

TRUTH = {"yes": True, "true": True, "no": False, "false": False}


def attention(name: str, channels: int) -> nn.Module:
    """Make an attention module.

    Args:
        name: As above, or ``"none"`` for a module that does nothing and has no parameter.
        channels: C, the number of channels of the maps (N, C, H, W) that it will see.

    Raises:
        StripeError: The name is not known, or is a list.

    Example:
        >>> attention("se", 64)
        SE(
          (fc1): Linear(in_features=64, out_features=4, bias=True)
          (fc2): Linear(in_features=4, out_features=64, bias=True)
        )
    """
    if "/" in name:
        raise StripeError(f"attention {name!r} is a list for the blocks of a network, not one module")
    return attention_factory(name)(channels)


def attention_factory(name: str) -> Make:
    """What makes the attention modules of one network, from the number of channels of each.

    It is to be called in the order of the forward pass, for modules that a stage shares (DIA) know those before them;
    a stage is a run of equal numbers of channels.

    Args:
        name: As above, or ``"none"``.

    Returns:
        A function of the number of channels; a ``BlockList`` for a list, to be used in ``for_every_block``.

    Raises:
        StripeError: The name is not known, or an option is none of the module's.

    Example:
        >>> make = attention_factory("cbam:sa>ca,k=3+eca")
        >>> [type(part).__name__ for part in make(64).parts]
        ['CBAM', 'ECA']
    """
    if "/" not in name:
        return _entry(name, name)
    entries = name.split("/")
    makers = {entry: _entry(entry, name) for entry in dict.fromkeys(entries)}  # modules of one chain have one maker
    return BlockList(name, [makers[entry] for entry in entries])


def for_every_block(make: Make) -> AbstractContextManager[Make]:
    """A context that has what makes attention modules, and that checks at its end that a list was as long as needed.

    Args:
        make: From ``attention_factory``.
    """
    return make if isinstance(make, BlockList) else nullcontext(make)


def _entry(text: str, whole: str) -> Make:
    if text == "none":
        return lambda channels: nn.Identity()
    makers = [_module(part, whole) for part in text.split("+")]
    return makers[0] if len(makers) == 1 else lambda channels: Combination([make(channels) for make in makers])


def _module(text: str, whole: str) -> Callable[[int], Attention]:
    head, *settings = text.split(",")
    name, colon, order = head.partition(":")
    inside = "" if text == whole else f" in {whole!r}"
    if name == "none":
        raise StripeError(f"attention {whole!r}: none stands alone, or as one entry of a list")
    if name not in ATTENTION:
        close = did_you_mean(name.strip().lower(), ATTENTION)
        folder = f". There is no folder {whole} with a structure that was searched, either" if "/" in whole else ""
        raise StripeError(f"unknown attention {name!r}{inside}; there are none, {', '.join(ATTENTION)}{close}{folder}")
    cls = ATTENTION[name]
    arguments: dict[str, Any] = {}
    if colon and order not in cls.orders:
        known = f"the orders of {name} are {', '.join(cls.orders)}" if cls.orders else f"{name} has no orders"
        raise StripeError(f"unknown attention {head!r}{inside}: {known}")
    if colon:
        cls, arguments = cls.ordered(order)
    make = cls.factory(**arguments, **_arguments(cls, head, settings, inside))

    def made(channels: int) -> Attention:
        try:
            return make(channels)
        except StripeError as error:
            raise StripeError(f"attention {text!r}{inside}: {error}") from error

    return made


def _arguments(cls: type[Attention], head: str, settings: Sequence[str], inside: str) -> dict[str, Any]:
    """The arguments of the constructor that the options of a module set."""
    kinds = get_type_hints(cls.__init__) if settings else {}
    arguments: dict[str, Any] = {}
    for setting in settings:
        option, equals, value = setting.partition("=")
        argument = cls.options.get(option)
        if not equals or argument is None:
            known = f"its options are {', '.join(f'{each}=' for each in cls.options)}" if cls.options else "it has none"
            raise StripeError(f"attention {head!r}{inside} has no option {setting!r}; {known}")
        if argument in arguments:
            raise StripeError(f"attention {head!r}{inside} says its {option} twice")
        arguments[argument] = _value(value, kinds[argument], f"attention {head!r}{inside}: {setting!r}")
    return arguments


def _value(text: str, kind: Any, what: str) -> Any:
    """A value as it was written, of the type that the argument is annotated with."""
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise StripeError(f"{what} is none of {', '.join(get_args(kind))}")
        return text
    if kind is bool:
        if text not in TRUTH:
            raise StripeError(f"{what} is neither yes nor no")
        return TRUTH[text]
    number = int if kind in (int, int | None) else float
    try:
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        return number(text)
    except ValueError:
        raise StripeError(f"{what} is not a {'whole ' if number is int else ''}number") from None
