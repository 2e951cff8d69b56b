"""Where the recipes lie, and which of them a name means."""

import re
from collections.abc import Sequence
from pathlib import Path

import stripe
from stripe.errors import StripeError
from stripe.names import did_you_mean
from stripe.reproduce.recipe import Recipe, read

__all__ = ["SCALES", "find", "folder", "recipes"]

SCALES = "scales.toml"


def folder() -> Path:
    """``figures`` of a source checkout, or the copy that an installed package carries."""
    package = Path(stripe.__file__).parent
    for place in (package.parent / "figures", package / "reproduce" / "figures"):
        if (place / SCALES).is_file():
            return place
    raise StripeError(f"The recipes of the figures are missing from this installation of stripe ({package}).")


def recipes() -> dict[str, Path]:
    """Name → file of every recipe of the paper: figures first, then tables, by number."""
    paths = {path.stem: path for path in folder().glob("*.toml") if path.name != SCALES}
    return {name: paths[name] for name in sorted(paths, key=_order)}


def find(names: Sequence[str]) -> list[Recipe]:
    """The recipes that some names mean, each once, in their order.

    Args:
        names: Of recipes (``fig12``), of several parts together (``fig1`` for ``fig1a``, ``fig1b`` and ``fig1c``),
            ``all``, or paths of recipes of your own.

    Raises:
        StripeError: There is no such recipe, or a file is none.
    """
    known = recipes()
    chosen: dict[Path, None] = {}
    for name in names:
        if name == "all":
            chosen |= dict.fromkeys(known.values())
        elif name in known:
            chosen[known[name]] = None
        elif parts := [path for key, path in known.items() if re.fullmatch(f"{re.escape(name)}[a-z]", key)]:
            chosen |= dict.fromkeys(parts)
        elif name.endswith(".toml"):
            chosen[Path(name)] = None
        else:
            raise StripeError(
                f"There is no recipe {name!r}{did_you_mean(name, known) or '.'} `stripe reproduce list` shows them "
                "all; one of your own is given by the path of its .toml."
            )
    found = [read(path) for path in chosen]
    twice = {recipe.name for recipe in found if [other.name for other in found].count(recipe.name) > 1}
    if twice:
        raise StripeError(f"Two recipes are called {twice.pop()}, and both would write there: rename your file.")
    return found


def _order(name: str) -> tuple[bool, str, int, str]:
    kind, number, part = re.fullmatch(r"(\D*)(\d*)(.*)", name).groups()  # type: ignore[union-attr]
    return kind not in ("fig", "table"), kind, int(number or 0), part
