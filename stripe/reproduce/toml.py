"""TOML files, read and checked key by key: a message names the file, the table and the key."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from stripe.errors import StripeError
from stripe.models.spec import fits, in_words
from stripe.names import did_you_mean

__all__ = ["check", "read_toml", "types_of"]


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        StripeError: The file does not exist, or is not written in TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StripeError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StripeError(f"{path} is not written in TOML: {error}.") from None


def types_of(cls: type) -> dict[str, Any]:
    """Return the annotated type of each field of a class, without None, for which TOML has no value."""
    return {name: _without_none(kind) for name, kind in get_type_hints(cls).items()}


def check(
    table: Mapping[str, Any], known: Mapping[str, Any], path: Path, where: str, *, required: Sequence[str] = ()
) -> None:
    """Refuse unknown keys, values of the wrong type, and tables that lack a required key.

    Args:
        table: The table, as tomllib read it.
        known: The annotated type of each key that the table may have.
        path: The file, for the message.
        where: The table's place in the file, for the message; ``""`` for the file itself.
        required: Keys that the table must have.

    Raises:
        StripeError: Something is wrong with the table. The message names the first fault.
    """
    place = f"{path}: {where}: " if where else f"{path}: "
    for key, value in table.items():
        if key not in known:
            hint = did_you_mean(key, known) or f"; there are {', '.join(known)}."
            raise StripeError(f"{place}unknown key {key!r}{hint}")
        if not fits(value, known[key]):
            raise StripeError(f"{place}{key} = {value!r} is not {in_words(known[key])}.")
    for key in required:
        if key not in table:
            raise StripeError(f"{place}{key!r} is missing.")


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        return Union[tuple(each for each in get_args(kind) if each is not NoneType)]  # noqa: UP007
    return kind
