"""A recipe: which runs a figure or table is made of, how it is drawn, and what the paper's own numbers are."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stripe.errors import StripeError
from stripe.names import did_you_mean
from stripe.plots.kinds import kinds
from stripe.reproduce.checking import check
from stripe.training.config import RunConfig

__all__ = ["METRICS", "OF_TRAINING", "SETTINGS", "Column", "Draw", "Recipe", "Row", "read"]

_OF_SCALE = {"recipe", "select", "seed", "images_per_epoch", "capture", "precision", "train_images", "test_images"}
"""What no recipe says of a run, since the scale does."""

OF_TRAINING: dict[str, tuple[type, ...]] = {"weight_decay": (int, float), "schedule": (str,)}
"""What is said of a run's training, instead of the paper's."""


def _types(kind: Any) -> tuple[type, ...]:
    """What a setting may be in TOML."""
    if get_origin(kind) in (Union, UnionType):
        return tuple(chain.from_iterable(_types(each) for each in get_args(kind) if each is not NoneType))
    toml = {float: (int, float), Literal: (str,), tuple: (list,), Mapping: (dict,)}
    return toml.get(get_origin(kind) or kind, (kind,))


SETTINGS = {
    **{name: _types(kind) for name, kind in get_type_hints(RunConfig).items() if name not in _OF_SCALE},
    **OF_TRAINING,
}
"""What a run can be told, see `stripe.training.RunConfig`, and of which type."""

_OF_ENTRIES = {"name", "group", "paper", "metric", "quick"}
"""What rows and columns say besides."""

METRICS = ("accuracy", "top5", "parameters", "speed")
"""What a column of a table can be: top-1 and top-5 in per cent, parameters in millions, images a second."""

# What can be drawn, with the arguments of each.
CAPTURE_KINDS = {
    name: tuple(option for option in kind.options if option != "style") for name, kind in kinds("capture").items()
}
TABLE_KINDS: dict[str, tuple[str, ...]] = {"table": ("lines",), **dict.fromkeys(kinds("speeds"), ())}
OPTIONS: dict[str, tuple[str, ...]] = {**CAPTURE_KINDS, **TABLE_KINDS, "gradcam": ()}


@dataclass(frozen=True)
class Row:
    """A row of a table, or one of several runs of a figure.

    Attributes:
        name: As the paper writes it.
        settings: Of its runs, over those of the recipe.
        group: Under which heading it stands, ``""`` for none.
        paper: The paper's number for each column, NaN where it has none.
        quick: Settings at the quick scale, over all others.
    """

    name: str
    settings: Mapping[str, Any]
    group: str = ""
    paper: tuple[float, ...] = ()
    quick: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A column of a table: settings of its runs, over those of the row, and what is measured of them."""

    name: str
    settings: Mapping[str, Any]
    metric: str = "accuracy"


@dataclass(frozen=True)
class Draw:
    """A kind of picture and its arguments."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """What a ``.toml`` file says.

    Attributes:
        name: Of the file, as ``fig12``.
        path: The file.
        title: What the figure shows, in a line.
        source: Where it stands in the paper.
        claim: What the paper says that it shows.
        note: What else a reader must know; ``""`` for nothing.
        missing: What is lacking to reproduce it; ``""`` where nothing is.
        run: Settings of all its runs.
        rows: At least one; a figure of a single run has one without a name.
        columns: At least one; without a name where there are none.
        quick: Settings at the quick scale, over all others.
        draw: The picture; None where something is missing.
    """

    name: str
    path: Path
    title: str
    source: str
    claim: str
    note: str = ""
    missing: str = ""
    run: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...] = (Row("", {}),)
    columns: tuple[Column, ...] = (Column("", {}),)
    quick: Mapping[str, Any] = field(default_factory=dict)
    draw: Draw | None = None

    @property
    def is_table(self) -> bool:
        """Whether it compares numbers of runs, rather than showing what a capture holds."""
        return self.draw is not None and self.draw.kind in TABLE_KINDS


def read(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        StripeError: There is no such file, it is no TOML, or it says something that no recipe can; the message names
            the file and the key.
    """
    content = read_toml(path)
    texts = dict.fromkeys(("title", "source", "claim", "note", "missing"), str)
    check(content, {**texts, "run": dict, "rows": list, "columns": list, "quick": dict, "draw": dict}, path, "")
    required = ["title", "source", "claim"] + ([] if content.get("missing") else ["run", "draw"])
    for key in required:
        if key not in content:
            raise StripeError(f"{path}: {key!r} is missing.")
    draw = _draw(content["draw"], path) if "draw" in content else None
    columns = tuple(_column(entry, path, number) for number, entry in _tables(content, "columns", path))
    rows = tuple(_row(entry, len(columns), path, number) for number, entry in _tables(content, "rows", path))
    for where in ("run", "quick"):
        _settings(content.get(where, {}), path, f"[{where}]")
    if draw and draw.kind in CAPTURE_KINDS and (rows or columns):
        raise StripeError(
            f"{path}: a picture of kind {draw.kind!r} shows one run; leave [[rows]] and [[columns]] away."
        )
    if draw and draw.kind in TABLE_KINDS and not (rows and columns):
        raise StripeError(f"{path}: a {draw.kind} compares runs; say which in [[rows]] and [[columns]].")
    return Recipe(
        name=path.stem,
        path=path,
        **{key: str(content[key]) for key in texts if key in content},
        run=content.get("run", {}),
        rows=rows or (Row("", {}),),
        columns=columns or (Column("", {}),),
        quick=content.get("quick", {}),
        draw=draw,
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        StripeError: There is no such file, or it is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StripeError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StripeError(f"{path} is not written in TOML: {error}.") from None


def _tables(content: Mapping[str, Any], key: str, path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    for number, entry in enumerate(content.get(key, []), 1):
        if not isinstance(entry, dict):
            raise StripeError(f"{path}: {key} {number} is no table of settings.")
        yield number, entry


def _column(entry: dict[str, Any], path: Path, number: int) -> Column:
    where = f"columns {number}"
    check(entry, {**SETTINGS, "name": str, "metric": str}, path, where, required=("name",))
    metric = entry.get("metric", "accuracy")
    if metric not in METRICS:
        raise StripeError(f"{path}: {where} measures {metric!r}; there are {', '.join(METRICS)}.")
    return Column(entry["name"], _settings(entry, path, where), metric)


def _row(entry: dict[str, Any], columns: int, path: Path, number: int) -> Row:
    where = f"rows {number}"
    check(entry, {**SETTINGS, "name": str, "group": str, "paper": list, "quick": dict}, path, where, required=("name",))
    paper = entry.get("paper", [])
    if paper and (len(paper) != columns or not all(type(value) in (int, float) for value in paper)):
        raise StripeError(f"{path}: {where}: 'paper' holds one number for each of the {columns} columns, nan for none.")
    values = tuple(map(float, paper)) or (math.nan,) * max(columns, 1)
    quick = _settings(entry.get("quick", {}), path, f"{where}, quick")
    return Row(entry["name"], _settings(entry, path, where), entry.get("group", ""), values, quick)


def _settings(entry: Mapping[str, Any], path: Path, where: str) -> dict[str, Any]:
    """What a table says of runs, checked."""
    settings = {key: value for key, value in entry.items() if key not in _OF_ENTRIES}
    check(settings, SETTINGS, path, where)
    noise = settings.get("noise", [1, 0])
    if len(noise) != 2 or not all(type(value) in (int, float) for value in noise):
        raise StripeError(f"{path}: {where}: noise = {noise} is not two numbers, N_a and N_b.")
    return settings


def _draw(content: Mapping[str, Any], path: Path) -> Draw:
    kind = content.get("kind")
    if kind not in OPTIONS:
        hint = did_you_mean(str(kind), OPTIONS) or f"; there are {', '.join(OPTIONS)}."
        raise StripeError(f"{path}: [draw] is of kind {kind!r}{hint}")
    options = {key: value for key, value in content.items() if key != "kind"}
    for key in options:
        if key not in OPTIONS[kind]:
            takes = ", ".join(OPTIONS[kind]) or "nothing else"
            raise StripeError(f"{path}: [draw] of kind {kind!r} has no {key!r}; it takes {takes}.")
    return Draw(kind, options)
