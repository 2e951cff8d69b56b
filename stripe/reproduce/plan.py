"""Plans: the runs that a recipe needs at a scale, cell by cell."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from stripe.errors import StripeError
from stripe.models.composed import parse as parse_model
from stripe.names import data_name
from stripe.reproduce.recipe import Column, Recipe, Row
from stripe.reproduce.run_settings import GIVES, OF_TRAINING, Before, merged
from stripe.reproduce.scale import Changes, Scale, read_scale
from stripe.training import Recipe as Training
from stripe.training import recipe_for
from stripe.training.config import RunConfig

__all__ = ["Cell", "Plan"]


@dataclass(frozen=True)
class Cell:
    """A number of a table, or the one thing that a figure shows.

    Attributes:
        row: The row of the recipe.
        column: The column of the recipe.
        paper: The paper's number, NaN where the paper has none.
        requests: The runs that the number is measured on, one per seed; none where ``problem`` says why.
        original: The run at the paper's scale, for what is counted on the network without training it.
        before: The run that is trained before those, see ``stripe.reproduce.run_settings.Before``; None: none is.
        gives: What those take from it, a key of ``GIVES``.
        problem: Why there are no runs.
    """

    row: Row
    column: Column
    paper: float
    requests: tuple[RunConfig, ...]
    original: RunConfig | None = None
    before: RunConfig | None = None
    gives: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Plan:
    """A recipe at a scale.

    Attributes:
        recipe: The recipe.
        scale: The scale, with the changes that were asked for.
        cells: The cells, row by row.
        instead: Networks and data sets that replace those of the paper, such as ``("resnet20", "resnet83")``.
        left_out: Names of columns and rows that would repeat another one, because both have the same runs.
    """

    recipe: Recipe
    scale: Scale
    cells: tuple[Cell, ...]
    instead: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()

    @classmethod
    def make(cls, recipe: Recipe, scale: str, changes: Changes | None = None) -> Self:
        """Work out which runs a recipe needs.

        Args:
            recipe: The recipe.
            scale: Name of the scale, ``quick`` or ``paper``.
            changes: Changes to the scale and recipe; default none.

        Raises:
            StripeError: There is no scale of this name, settings make no sense together, or ``model`` of the changes
                would replace several networks.
        """
        changes = changes or Changes()
        own = recipe.scales.get(scale, {})
        common = changes.of(replace(read_scale(scale, table=recipe.is_table), **own))
        if recipe.missing:
            return cls(recipe, common, ())
        if recipe.draw and recipe.draw.kind == "diff" and changes.epochs == 1:
            raise StripeError(f"{recipe.name} shows differences from epoch to epoch: give epochs=2 or more.")
        instead: dict[tuple[str, str], None] = {}
        cells = []
        for row in recipe.rows:
            for column, number in zip(recipe.columns, row.paper or [float("nan")], strict=True):
                if isinstance(column.runs, int) and column.runs > common.seeds:
                    continue
                if row.missing:
                    cells.append(Cell(row, column, number, (), problem=row.missing))
                    continue
                asked = merged(recipe.run, row.settings, column.settings)
                for key in ("model", "data"):
                    if key not in asked:
                        raise StripeError(f"{recipe.path}: no {key!r} is said; put it into [run], or into each row.")
                quick = [recipe.quick, row.quick] if scale == "quick" else []
                used = _used(merged(asked, *quick), common, changes)
                for key in ("model", "data"):
                    if used[key] != asked[key]:
                        instead[data_name(used[key]), asked[key]] = None
                before = used.get("before")
                cells.append(
                    Cell(
                        row,
                        column,
                        number,
                        _requests(recipe, asked, used, common, changes),
                        None if column.is_trained else _request(recipe, asked, None),
                        _before(recipe, before, asked, used, common, changes) if before else None,
                        before.gives if before else "",
                    )
                )
        _refuse_model(recipe, changes)
        # Each cell of a search is another number of the same run.
        cells, left_out = (cells, []) if recipe.draw and recipe.draw.kind == "search" else _distinct(recipe, cells)
        return cls(recipe, common, tuple(cells), tuple(instead), tuple(left_out))

    @property
    def requests(self) -> list[RunConfig]:
        """The runs, each once, without those that are trained before them."""
        trained = (cell for cell in self.cells if cell.column.is_trained)
        return list(dict.fromkeys(request for cell in trained for request in cell.requests))

    @property
    def before(self) -> list[RunConfig]:
        """The runs that are trained before the others, each once."""
        return list(dict.fromkeys(cell.before for cell in self.cells if cell.before))


def _used(settings: Mapping[str, Any], scale: Scale, changes: Changes) -> dict[str, Any]:
    """Return the settings at a scale, with the network and data that replace those of the paper."""
    model, data = str(settings["model"]), str(settings["data"])
    return {
        **settings,
        "model": changes.model or _smaller(model, scale.models),
        "data": changes.data or scale.data.get(data, data),
    }


def _smaller(model: str, models: Mapping[str, str]) -> str:
    """Return the network that replaces one at a scale; of a detector or segmenter that of its backbone."""
    if model in models or (parts := parse_model(model)) is None:
        return models.get(model, model)
    return f"{parts.head}:{models.get(parts.backbone, parts.backbone)}"


def _requests(
    recipe: Recipe, asked: Mapping[str, Any], used: Mapping[str, Any], scale: Scale, changes: Changes
) -> tuple[RunConfig, ...]:
    """Return one run per seed."""
    request = replace(
        _request(recipe, used, _training(asked, used, scale, recipe)),
        select=scale.select,
        images_per_epoch=scale.images_per_epoch,
        capture=scale.capture if used.get("pretrained") or recipe.shows_capture else 0,
        precision=changes.precision,
        train_images=scale.train_images,
        test_images=scale.test_images,
    )
    seeds = scale.seeds if recipe.is_table else 1  # a picture shows one run
    return tuple(replace(request, seed=seed) for seed in range(seeds))


def _before(
    recipe: Recipe, before: Before, asked: Mapping[str, Any], used: Mapping[str, Any], scale: Scale, changes: Changes
) -> RunConfig:
    """Return the run that is trained before those of a cell."""
    quick = before.quick if scale.name == "quick" else {}
    shared = GIVES[before.gives]
    own_asked = merged({key: asked[key] for key in shared if key in asked}, before.settings)
    own_used = merged({key: used[key] for key in shared if key in used}, before.settings, quick)
    for key in ("model", "data"):
        if key not in own_used:
            raise StripeError(f"{recipe.path}: the run before has no {key!r}; say it in its table.")
    own_scale = changes.of(replace(scale, **before.scales.get(scale.name, {})))
    unchanged = replace(changes, model=None if "model" in before.settings else changes.model)
    first, *_ = _requests(
        replace(recipe, draw=None), own_asked, _used(own_used, own_scale, unchanged), own_scale, changes
    )
    return first


def _request(recipe: Recipe, settings: Mapping[str, Any], training: Training | None) -> RunConfig:
    """Return a run of some settings."""
    own = {key: value for key, value in settings.items() if key not in OF_TRAINING and key != "before"}
    try:
        return RunConfig(**own, recipe=training)
    except StripeError as error:
        raise StripeError(f"{recipe.path}: {error}") from None


def _training(asked: Mapping[str, Any], used: Mapping[str, Any], scale: Scale, recipe: Recipe) -> Training | None:
    """Return the paper's training of this network on the paper's data; None for published weights."""
    if used.get("pretrained"):
        return None
    training = recipe_for(used["model"], asked["data"])
    changed = {key: used[key] for key in OF_TRAINING if key in used}
    if "milestones" in changed:
        changed["milestones"] = tuple(changed["milestones"])
    try:
        if "milestones" not in changed:  # those of the paper move with the number of epochs
            training = training.scaled(changed.pop("epochs", training.epochs))
        training = replace(training, **changed)
        training = replace(training, batch_size=scale.batch_size or training.batch_size)
        return training.scaled(scale.epochs or training.epochs)
    except StripeError as error:
        raise StripeError(f"{recipe.path}: {error}") from None


def _distinct(recipe: Recipe, cells: list[Cell]) -> tuple[list[Cell], list[str]]:
    """Leave out what repeats another column or row: the same metric of the same runs.

    Of equal columns the last one is kept, of equal rows the first one, and every row without runs.

    Returns:
        The cells that are kept, and the names of the columns and rows that are not.
    """
    shown = [column for column in recipe.columns if any(cell.column is column for cell in cells)]
    columns: dict[Any, Column] = {}
    for column in shown:
        own = tuple(cell.requests for cell in cells if cell.column is column)
        columns[column.metric, column.runs, own] = column
    rows: dict[Any, Row] = {}
    for number, row in enumerate(recipe.rows):
        key = tuple(cell.requests for cell in cells if cell.row is row)
        rows.setdefault(number if row.missing else key, row)
    kept_columns, kept_rows = [[id(entry) for entry in kept.values()] for kept in (columns, rows)]
    left_out = [column.name for column in shown if id(column) not in kept_columns]
    left_out += [f"{row.group} {row.name}".strip() for row in recipe.rows if id(row) not in kept_rows]
    return [c for c in cells if id(c.column) in kept_columns and id(c.row) in kept_rows], left_out


def _refuse_model(recipe: Recipe, changes: Changes) -> None:
    models = {
        settings["model"] for settings in (recipe.run, *(row.settings for row in recipe.rows)) if "model" in settings
    }
    if changes.model and len(models) > 1:
        raise StripeError(
            f"{recipe.name} compares {', '.join(sorted(models))}; model= would make them one. Leave it away."
        )
