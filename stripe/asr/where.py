"""From a pattern, a function or names to the layers that they mean."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from stripe.asr.layers import KINDS, foldable
from stripe.asr.places import Groups, Places, known_places
from stripe.errors import StripeError

__all__ = ["Where", "find"]

Where = str | Callable[[str, nn.Module], bool] | Sequence[str | Sequence[str]]


def find(model: nn.Module, where: Where | None) -> Places:
    """The places that a pattern, a function, names or the architecture mean.

    Args:
        model: Any network.
        where: As for `stripe.asr.reparameterize`.

    Raises:
        StripeError: They mean no layer that ASR can follow.
    """
    if where is None:
        return known_places(model)
    if isinstance(where, str) or callable(where):
        return Places([(name,) for name in _matches(model, where)])
    groups: Groups = []
    for entry in where:
        groups += [(name,) for name in _matches(model, entry)] if isinstance(entry, str) else [tuple(entry)]
    if not all(groups) or not groups:
        raise StripeError("there is no layer in one of the groups where ASR is to go")
    return Places(groups)


def _matches(model: nn.Module, where: str | Callable[[str, nn.Module], bool]) -> list[str]:
    """Names of the foldable layers that a pattern or a function means, in the order of the network."""
    meant = [
        (name, module)
        for name, module in model.named_modules()
        if ".parametrizations." not in name
        and (fnmatchcase(name, where) if isinstance(where, str) else where(name, module))
    ]
    said = f"the pattern {where!r}" if isinstance(where, str) else "the function that says where"
    if not meant:
        last = [name for name, module in model.named_modules() if foldable(module)][-4:]
        raise StripeError(f"no layer of the model fits {said}; it has, among others, {', '.join(last)}")
    names = [name for name, module in meant if foldable(module)]
    if not names:
        name, module = meant[0]
        raise StripeError(f"{said} means {name}, which is a {type(module).__name__}; ASR can follow {KINDS}")
    return names
