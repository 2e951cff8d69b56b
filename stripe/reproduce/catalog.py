"""The catalogue of recipes: one folder for each paper, and the names by which people ask for them."""

import re
from collections.abc import Sequence
from pathlib import Path

from stripe.errors import StripeError
from stripe.names import did_you_mean
from stripe.reproduce.papers import FIRST, PAPERS, folder
from stripe.reproduce.recipe import Recipe, read

__all__ = ["find", "recipes"]


def recipes() -> dict[str, Path]:
    """Return the file of each recipe by its name: paper by paper, first figures, then tables, each by number."""
    found = {}
    for paper in PAPERS:
        for path in sorted((folder() / paper).glob("*.toml"), key=lambda path: _order(path.stem)):
            found[path.stem if paper == FIRST else f"{paper}/{path.stem}"] = path
    return found


def find(names: Sequence[str]) -> list[Recipe]:
    """Read the recipes that some names mean, each once, in the order of the names.

    Args:
        names: Names of recipes (``fig12``, which is also ``asr/fig12``, or ``spsa/table1``), names of several parts
            together (``fig1`` for ``fig1a``, ``fig1b`` and ``fig1c``), a paper (``spsa``), ``all``, or paths of recipes
            of your own.

    Raises:
        StripeError: There is no recipe of a name, a file is not a recipe, or two recipes have the same name.
    """
    known = recipes()
    chosen: dict[Path, None] = {}
    for asked in names:
        name = asked.removeprefix(f"{FIRST}/")
        if name == "all":
            chosen |= dict.fromkeys(known.values())
        elif name in PAPERS:
            chosen |= dict.fromkeys(path for path in known.values() if path.parent.name == name)
        elif name in known:
            chosen[known[name]] = None
        elif parts := [path for key, path in known.items() if re.fullmatch(f"{re.escape(name)}[a-z]", key)]:
            chosen |= dict.fromkeys(parts)
        elif name.endswith(".toml"):
            chosen[Path(asked)] = None
        else:
            others = [key for key in known if key.endswith(f"/{name}")]
            hint = f"; did you mean {' or '.join(others)}?" if others else did_you_mean(name, known) or "."
            raise StripeError(
                f"There is no recipe {asked!r}{hint} `stripe reproduce list` shows them all; one of your own is given "
                "by the path of its .toml."
            )
    found = [read(path) for path in chosen]
    twice = {recipe.name for recipe in found if [other.name for other in found].count(recipe.name) > 1}
    if twice:
        raise StripeError(f"Two recipes are called {twice.pop()}, and both would write there: rename your file.")
    return found


def _order(name: str) -> tuple[bool, str, int, str]:
    kind, number, part = re.fullmatch(r"(\D*)(\d*)(.*)", name).groups()  # type: ignore[union-attr]
    return kind not in ("fig", "table"), kind, int(number or 0), part
