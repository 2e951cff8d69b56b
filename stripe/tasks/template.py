"""The attention whose structure is searched, as it is written: what is searched in it, and what is built in its place.

It may be one module for every place of a network (``sscbam``), be combined with others (``sscbam+se``), or be a list
with an entry per place (``sscbam/none/ssmvam,k=3``), see ``stripe.attention.attention_factory``.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from stripe.attention.grammar import attention
from stripe.attention.registry import ATTENTION
from stripe.attention.search import MixedAttention

__all__ = ["filled", "of_module", "places", "searched", "template_of"]


def template_of(text: str, modules: Sequence[MixedAttention]) -> str:
    """The attention of a network whose structure is searched.

    Args:
        text: What was asked for when the network was built.
        modules: Those of the network that are searched, in the order of the forward pass.

    Returns:
        The text; where it does not say these modules, as of a network of one's own that holds them by itself, a list of
        them alone.
    """
    own = [of_module(module.family, module.kernel_size) for module in modules]
    said = [of_module(_module(part).family, _module(part).kernel_size) for part in searched(places(text, len(own)))]
    return text if said == own else "/".join(own)


def places(text: str, modules: int) -> list[str]:
    """The entries of a list, or as many of what stands for every place as a network needs.

    Args:
        text: As it was written.
        modules: How many modules of the network are searched.
    """
    return text.split("/") if "/" in text else [text] * (modules // max(1, len(searched([text]))))


def searched(entries: Sequence[str]) -> list[str]:
    """The modules among those of some entries whose structure is searched, such as ``sscbam,k=3``."""
    return [part for entry in entries for part in entry.split("+") if _is_searched(part)]


def filled(entry: str, ways: Iterator[str]) -> str:
    """What is built in the place of an entry.

    Args:
        entry: Such as ``sscbam+se``.
        ways: Gives one of ``stripe.tasks.structure.CHOICES`` for each module that is searched.

    Example:
        >>> filled("sscbam,k=3+se", iter(["sa>ca"])), filled("ssmvam", iter(["identity"]))
        ('cbam:sa>ca,k=3+se', 'none')
    """
    parts = [_built(part, next(ways)) if _is_searched(part) else part for part in entry.split("+")]
    return "+".join(part for part in parts if part) or "none"


def of_module(family: str, kernel_size: int) -> str:
    """How a module whose structure is searched is written.

    Example:
        >>> of_module("mvam", 3), of_module("cbam", 7)
        ('ssmvam,k=3', 'sscbam')
    """
    names = {cls.family: name for name, cls in ATTENTION.items() if issubclass(cls, MixedAttention)}
    return names[family] + _kernel(kernel_size)


def _is_searched(part: str) -> bool:
    name = part.partition(",")[0]
    return name in ATTENTION and issubclass(ATTENTION[name], MixedAttention)


@lru_cache
def _module(part: str) -> MixedAttention:
    found = attention(part, 16)  # of any number of channels
    assert isinstance(found, MixedAttention)  # as _is_searched says
    return found


def _built(part: str, way: str) -> str:
    """What is built in the place of a module that was searched; nothing for the identity."""
    if way == "identity":
        return ""
    # Channel attention alone has no kernel.
    return f"{_module(part).family}:{way}" + ("" if way == "ca" else _kernel(_module(part).kernel_size))


def _kernel(size: int) -> str:
    return "" if size == 7 else f",k={size}"
