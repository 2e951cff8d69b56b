"""Recipes of figures and tables: which runs they are made of, how they are drawn, and the paper's own numbers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stripe.errors import StripeError
from stripe.names import did_you_mean
from stripe.plots.beside import BESIDE
from stripe.plots.kinds import kinds
from stripe.reproduce.papers import FIRST, paper_of
from stripe.reproduce.run_settings import at_scale, read_settings
from stripe.reproduce.toml import check, read_toml
from stripe.tasks import tasks
from stripe.tasks.average_precision import BOX, MASK, AveragePrecision

__all__ = ["OF_NETWORKS", "Column", "Draw", "Recipe", "Row", "read"]

OF_NETWORKS = ("parameters", "added_parameters", "flops", "speed")
"""What a column of a table can show of networks, trained or not: millions of parameters, thousands of parameters more
than without attention, billions of multiplications with an addition (the papers' FLOPs), and images per second.
Every other column shows a measure of the task that the runs are trained for, or ``top5``."""

# What can be drawn, with the options of each kind of picture.
CAPTURE_KINDS = {
    name: tuple(option for option in kind.options if option != "style")
    for name, kind in kinds("capture", "captures").items()
    if name != "gradcam"  # runs capture attention, and no Grad-CAM maps
}
SEVERAL = (*BESIDE, *(name for name in kinds("captures") if name in CAPTURE_KINDS))  # captures in one picture
TABLE_KINDS: dict[str, tuple[str, ...]] = {"table": ("lines", "width"), **dict.fromkeys(kinds("speeds"), ())}
OPTIONS: dict[str, tuple[str, ...]] = {
    **CAPTURE_KINDS,
    **TABLE_KINDS,
    "gradcam": (),
    "search": (),
    "transfer": ("images",),
}


@dataclass(frozen=True)
class Row:
    """A row of a table, or one of several runs of a figure.

    Attributes:
        name: The name that the paper gives the row.
        settings: Settings of the row's runs; they override those of the recipe.
        group: The heading under which the row stands, ``""`` for none.
        paper: The paper's number for each column, NaN where the paper has none.
        quick: Settings at the quick scale; they override all others.
        missing: What is lacking to reproduce the row, whose numbers are the paper's alone then; ``""`` for nothing.
        control: Whether the rows that follow it in its group are compared with it.
    """

    name: str
    settings: Mapping[str, Any]
    group: str = ""
    paper: tuple[float, ...] = ()
    quick: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""
    control: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: The name that the paper gives the column.
        settings: Settings of the column's runs; they override those of the row.
        metric: What is measured: one of ``OF_NETWORKS``, ``top5``, or a measure of the runs' task.
        runs: Which of the runs with different seeds: the ``mean`` over them, the ``best`` one, or one of them by its
            number from 1 on.
        control: Whether the columns of the same metric that follow it are compared with it.
    """

    name: str
    settings: Mapping[str, Any]
    metric: str = "accuracy"
    runs: str | int = "mean"
    control: bool = False

    @property
    def is_trained(self) -> bool:
        """Whether the column is measured on trained networks."""
        return self.metric not in OF_NETWORKS


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
        scales: Name of a scale → what the recipe changes of it.
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
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    draw: Draw | None = None

    @property
    def stem(self) -> str:
        """The name of the file without its ending."""
        return self.path.stem

    @property
    def paper(self) -> str:
        """The paper, a key of ``stripe.reproduce.papers.PAPERS``; ``""`` for a recipe of your own."""
        return paper_of(self.path)

    @property
    def shows_capture(self) -> bool:
        """Whether the recipe shows what captures of runs hold."""
        return self.draw is not None and self.draw.kind in CAPTURE_KINDS

    @property
    def is_table(self) -> bool:
        """Whether the recipe compares numbers of runs, rather than showing what a capture holds."""
        return self.draw is not None and self.draw.kind in TABLE_KINDS

    @property
    def has_control(self) -> bool:
        """Whether rows or columns are compared with one of them."""
        return any(row.control for row in self.rows) or any(column.control for column in self.columns)


def read(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        StripeError: The file cannot be read, is not written in TOML, or says something that no recipe can say. The
            message names the file and the key.
    """
    content = read_toml(path)
    texts = dict.fromkeys(("title", "source", "claim", "note", "missing"), str)
    known = {**texts, **dict.fromkeys(("run", "quick", "paper", "draw"), dict), "rows": list, "columns": list}
    required = ["title", "source", "claim"] + ([] if content.get("missing") else ["run", "draw"])
    check(content, known, path, "", required=required)
    draw = _draw(content["draw"], path) if "draw" in content else None
    columns = tuple(_column(entry, path, number) for number, entry in _tables(content, "columns", path))
    rows = tuple(_row(entry, len(columns), path, number) for number, entry in _tables(content, "rows", path))
    run = read_settings(content.get("run", {}), path, "[run]")
    quick, of_quick = at_scale(content.get("quick", {}), path, "[quick]")
    none, of_paper = at_scale(content.get("paper", {}), path, "[paper]")
    if none:
        raise StripeError(f"{path}: [paper]: {next(iter(none))!r} belongs into [run]; here are settings of the scale.")
    if draw and draw.kind in CAPTURE_KINDS and (columns or (rows and draw.kind not in SEVERAL)):
        raise StripeError(
            f"{path}: a picture of kind {draw.kind!r} shows one run; leave [[rows]] and [[columns]] away."
        )
    if draw and draw.kind in TABLE_KINDS and not (rows and columns):
        raise StripeError(f"{path}: a {draw.kind} compares runs; say which in [[rows]] and [[columns]].")
    _check_control(draw, rows, columns, path)
    recipe = Recipe(
        name=path.stem,
        path=path,
        **{key: str(content[key]) for key in texts if key in content},
        run=run,
        rows=rows or (Row("", {}),),
        columns=columns or (Column("", {}),),
        quick=quick,
        scales={"quick": of_quick, "paper": of_paper},
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
    settings = read_settings(entry, path, where, {"name": str, "metric": str, "runs": str | int, "control": bool})
    metric, runs = entry.get("metric", "accuracy"), entry.get("runs", "mean")
    if metric not in (known := _metrics()):
        hint = did_you_mean(metric, known) or "."
        raise StripeError(f"{path}: {where} measures {metric!r}; there are {', '.join(known)}{hint}")
    if runs not in ("mean", "best") and not (isinstance(runs, int) and runs >= 1):
        raise StripeError(f"{path}: {where}: runs = {runs!r}; say mean, best or the number of a run from 1 on.")
    return Column(entry["name"], settings, metric, runs, entry.get("control", False))


def _metrics() -> list[str]:
    """Return what a column can measure: of networks, and of every task that is known."""
    measures = [name for task in tasks().values() for name in task.scoring.measures]
    precisions = AveragePrecision.names((BOX, MASK))  # those of detection depend on the network
    return list(dict.fromkeys(["accuracy", "top5", *OF_NETWORKS, *measures, *precisions]))


def _row(entry: dict[str, Any], columns: int, path: Path, number: int) -> Row:
    where = f"rows {number}"
    besides = {**dict.fromkeys(("name", "group", "missing"), str), "paper": list, "quick": dict, "control": bool}
    settings = read_settings(entry, path, where, besides)
    paper = entry.get("paper", [])
    if paper and (len(paper) != columns or not all(type(value) in (int, float) for value in paper)):
        raise StripeError(f"{path}: {where}: 'paper' holds one number for each of the {columns} columns, nan for none.")
    values = tuple(map(float, paper)) or (math.nan,) * max(columns, 1)
    quick, of_scale = at_scale(entry.get("quick", {}), path, f"{where}, quick")
    if of_scale:
        raise StripeError(f"{path}: {where}, quick: {next(iter(of_scale))!r} is for all rows; say it in [quick].")
    about = {key: entry[key] for key in ("group", "missing", "control") if key in entry}
    return Row(entry["name"], settings, paper=values, quick=quick, **about)


def _check_control(draw: Draw | None, rows: Sequence[Row], columns: Sequence[Column], path: Path) -> None:
    """Refuse controls that nothing could be compared with."""
    marked = [name for name, each in (("rows", rows), ("columns", columns)) if any(entry.control for entry in each)]
    if len(marked) > 1:
        raise StripeError(f"{path}: rows and columns both have a control = true; say it in the one or the other.")
    if marked and draw and draw.kind != "table":
        raise StripeError(
            f"{path}: {marked[0]}: control = true is for a table, not for a picture of kind {draw.kind!r}."
        )


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
