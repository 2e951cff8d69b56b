"""Recipes of figures and tables: which runs they are made of, how they are drawn, and the paper's own numbers."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stripe.data import parse_size
from stripe.errors import StripeError
from stripe.names import did_you_mean
from stripe.plots.kinds import kinds
from stripe.reproduce.toml import check, read_toml, types_of
from stripe.training.config import RunConfig

__all__ = ["FIRST", "METRICS", "OF_TRAINING", "PAPERS", "SCALES", "Column", "Draw", "Recipe", "Row", "read"]

PAPERS = {
    "asr": "Stripe Observation Guided Inference Cost-free Attention Mechanism (Huang et al., ECCV 2024)",
    "search": "Attention Module, a report on searched structures of attention",
    "spsa": "Simple Parameter-free Self-attention Approximation (Zhai et al., ICLR 2023, Tiny Papers)",
}
"""Title of each paper by the name of the folder of its recipes."""

FIRST = "asr"
"""The paper whose recipes go by the names of their files alone, such as ``fig12``."""

SCALES = "scales.toml"
"""The file beside the papers' folders that says what all recipes have in common, see ``stripe.reproduce.scale``."""

_OF_SCALE = {"recipe", "select", "seed", "images_per_epoch", "capture", "precision", "train_images", "test_images"}
"""Settings of a run that no recipe has, since the scale decides them."""

OF_TRAINING: dict[str, Any] = {"weight_decay": float, "schedule": str}
"""Settings of a run's training that a recipe may have, instead of the paper's."""

SETTINGS = {
    **{name: kind for name, kind in types_of(RunConfig).items() if name not in _OF_SCALE},
    **OF_TRAINING,
    "image_size": int | str,  # 32, or "48x192" for height and width
}
"""Type of each setting that a recipe may have, see ``stripe.training.RunConfig``."""

METRICS = ("accuracy", "top5", "parameters", "speed")
"""What a column of a table can show: top-1 and top-5 in per cent, parameters in millions, images per second."""

# What can be drawn, with the options of each kind of picture.
CAPTURE_KINDS = {
    name: tuple(option for option in kind.options if option != "style") for name, kind in kinds("capture").items()
}
TABLE_KINDS: dict[str, tuple[str, ...]] = {"table": ("lines",), **dict.fromkeys(kinds("speeds"), ())}
OPTIONS: dict[str, tuple[str, ...]] = {**CAPTURE_KINDS, **TABLE_KINDS, "gradcam": ()}


@dataclass(frozen=True)
class Row:
    """A row of a table, or one of several runs of a figure.

    Attributes:
        name: The name that the paper gives the row.
        settings: Settings of the row's runs; they override those of the recipe.
        group: The heading under which the row stands, ``""`` for none.
        paper: The paper's number for each column, NaN where the paper has none.
        quick: Settings at the quick scale; they override all others.
    """

    name: str
    settings: Mapping[str, Any]
    group: str = ""
    paper: tuple[float, ...] = ()
    quick: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: The name that the paper gives the column.
        settings: Settings of the column's runs; they override those of the row.
        metric: What is measured of the runs, one of ``METRICS``.
    """

    name: str
    settings: Mapping[str, Any]
    metric: str = "accuracy"


@dataclass(frozen=True)
class Draw:
    """The kind of a picture, and its options."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A recipe, as a ``.toml`` file holds it.

    Attributes:
        name: The name of the file without its ending, such as ``fig12``; with the folder before it where the recipe is
            of another paper than the first, such as ``spsa/table1``.
        path: The file.
        title: One line about what the figure or table shows.
        source: The place in the paper.
        claim: The statement that the paper makes with the figure or table.
        note: What else a reader must know; ``""`` for nothing.
        missing: What is lacking to reproduce the figure or table; ``""`` where nothing is.
        run: Settings of all runs.
        rows: The rows, at least one; a figure of a single run has one without a name.
        columns: The columns, at least one; a recipe that lists none has one without a name.
        quick: Settings at the quick scale; they override all others except a row's own.
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
    def stem(self) -> str:
        """The name of the file without its ending."""
        return self.path.stem

    @property
    def paper(self) -> str:
        """The folder of the recipe, a key of ``PAPERS``; ``""`` for a recipe of your own."""
        folder = self.path.absolute().parent
        return folder.name if folder.name in PAPERS and (folder.parent / SCALES).is_file() else ""

    @property
    def shows_capture(self) -> bool:
        """Whether the recipe shows what the capture of one run holds."""
        return self.draw is not None and self.draw.kind in CAPTURE_KINDS

    @property
    def is_table(self) -> bool:
        """Whether the recipe compares numbers of runs, rather than showing what a capture holds."""
        return self.draw is not None and self.draw.kind in TABLE_KINDS


def read(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        StripeError: The file cannot be read, is not written in TOML, or says something that no recipe can say. The
            message names the file and the key.
    """
    content = read_toml(path)
    texts = dict.fromkeys(("title", "source", "claim", "note", "missing"), str)
    known = {**texts, "run": dict, "rows": list, "columns": list, "quick": dict, "draw": dict}
    required = ["title", "source", "claim"] + ([] if content.get("missing") else ["run", "draw"])
    check(content, known, path, "", required=required)
    draw = _draw(content["draw"], path) if "draw" in content else None
    columns = tuple(_column(entry, path, number) for number, entry in _tables(content, "columns", path))
    rows = tuple(_row(entry, len(columns), path, number) for number, entry in _tables(content, "rows", path))
    run, quick = (_settings(content.get(where, {}), path, f"[{where}]") for where in ("run", "quick"))
    if draw and draw.kind in CAPTURE_KINDS and (rows or columns):
        raise StripeError(
            f"{path}: a picture of kind {draw.kind!r} shows one run; leave [[rows]] and [[columns]] away."
        )
    if draw and draw.kind in TABLE_KINDS and not (rows and columns):
        raise StripeError(f"{path}: a {draw.kind} compares runs; say which in [[rows]] and [[columns]].")
    recipe = Recipe(
        name=path.stem,
        path=path,
        **{key: str(content[key]) for key in texts if key in content},
        run=run,
        rows=rows or (Row("", {}),),
        columns=columns or (Column("", {}),),
        quick=quick,
        draw=draw,
    )
    return recipe if recipe.paper in ("", FIRST) else replace(recipe, name=f"{recipe.paper}/{recipe.stem}")


def _tables(content: Mapping[str, Any], key: str, path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    for number, entry in enumerate(content.get(key, []), 1):
        if not isinstance(entry, dict):
            raise StripeError(f"{path}: {key} {number} is no table of settings.")
        yield number, entry


def _column(entry: dict[str, Any], path: Path, number: int) -> Column:
    where = f"columns {number}"
    settings = _settings(entry, path, where, {"name": str, "metric": str})
    metric = entry.get("metric", "accuracy")
    if metric not in METRICS:
        raise StripeError(f"{path}: {where} measures {metric!r}; there are {', '.join(METRICS)}.")
    return Column(entry["name"], settings, metric)


def _row(entry: dict[str, Any], columns: int, path: Path, number: int) -> Row:
    where = f"rows {number}"
    settings = _settings(entry, path, where, {"name": str, "group": str, "paper": list, "quick": dict})
    paper = entry.get("paper", [])
    if paper and (len(paper) != columns or not all(type(value) in (int, float) for value in paper)):
        raise StripeError(f"{path}: {where}: 'paper' holds one number for each of the {columns} columns, nan for none.")
    values = tuple(map(float, paper)) or (math.nan,) * max(columns, 1)
    quick = _settings(entry.get("quick", {}), path, f"{where}, quick")
    return Row(entry["name"], settings, entry.get("group", ""), values, quick)


def _settings(
    table: Mapping[str, Any], path: Path, where: str, besides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Check a table, and return the settings of runs in it.

    Args:
        table: The table.
        path: The file, for the message.
        where: The table's place in the file, for the message.
        besides: Types of the keys that a row or column has besides settings, its name among them.
    """
    check(table, {**SETTINGS, **(besides or {})}, path, where, required=("name",) if besides else ())
    settings = {key: value for key, value in table.items() if key in SETTINGS}
    if "image_size" in settings:
        try:
            settings["image_size"] = parse_size(settings["image_size"])
        except StripeError as error:
            raise StripeError(f"{path}: {where}: image_size: {error}") from None
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
