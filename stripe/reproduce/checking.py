"""Tables of a TOML file, checked key by key: what is wrong is said with the file and the key."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stripe.errors import StripeError
from stripe.names import did_you_mean

__all__ = ["check"]

_WORDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


def check(
    table: Mapping[str, Any],
    known: Mapping[str, type | tuple[type, ...]],
    path: Path,
    where: str,
    *,
    required: Sequence[str] = (),
) -> None:
    """Refuse keys that are not known, values of another type, and a table without what it needs.

    Args:
        table: As tomllib read it.
        known: Key → the types that it may have.
        path: The file, for the message.
        where: Which table of it, for the message; ``""`` for the file itself.
        required: Keys that must be there.

    Raises:
        StripeError: What is wrong first.
    """
    place = f"{path}: {where}: " if where else f"{path}: "
    for key, value in table.items():
        if key not in known:
            hint = did_you_mean(key, known) or f"; there are {', '.join(known)}."
            raise StripeError(f"{place}unknown key {key!r}{hint}")
        expected = known[key]
        types = expected if isinstance(expected, tuple) else (expected,)
        if type(value) not in types:  # not isinstance: TOML's true is no whole number
            raise StripeError(f"{place}{key} = {value!r} is not {' or '.join(_WORDS[kind] for kind in types)}.")
    for key in required:
        if key not in table:
            raise StripeError(f"{place}{key!r} is missing.")
