"""What the page shows of trainings: curves, results, settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stripe.names import counted, data_name
from stripe.plots.diff import learning_rate_drops
from stripe.plots.runs import scoring_of, selected_by
from stripe.tasks.scoring import Scoring
from stripe.training.metrics import best_of, row_of
from stripe.training.run import Run

__all__ = ["curves", "results", "settings_rows"]

_UNITS = {
    "image_size": "px",
    "data_image_size": "px",
    "held_out.images": "images",
    "images_per_epoch": "images",
    "capture": "images",
    "recipe.epochs": "epochs",
    "recipe.batch_size": "images",
    "recipe.warmup": "epochs",
}


def curves(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The metrics of runs, ready for JSON; those that have not finished an epoch are left out.

    Returns:
        One record per run: ``name``; every column of ``Run.metrics``, null where a number is missing; ``drops``,
        between which epochs the learning rate drops; ``score``, the measure by which epochs are compared, and ``axes``,
        what the loss and that measure are called at an axis.
    """
    records = []
    for run in runs:
        table = _metrics(run)
        if len(table):
            scoring = scoring_of(run)
            rates = table["learning_rate"].to_numpy()
            drops = learning_rate_drops(rates).tolist() if len(rates) > 1 else []
            records.append(
                {
                    "name": run.path.absolute().name,
                    **{str(name): [_number(value) for value in column] for name, column in table.items()},
                    "score": scoring.best,
                    "axes": {name: scoring.axis(name) for name in ("loss", scoring.best)},
                    "drops": [float(table["epoch"].iloc[drop]) - 0.5 for drop in drops],
                }
            )
    return records


def results(runs: Sequence[Run]) -> list[str]:
    """How the trainings ended, one sentence each: how far they are, and the test scores of the best and last epoch."""
    sentences: list[str] = []
    finished: dict[Scoring, list[tuple[float, float]]] = {}
    for run in runs:
        name = f"{run.path.absolute().name}: " if len(runs) > 1 else ""
        table, planned = _metrics(run), _planned(run)
        done = len(table)
        if not done:
            sentences.append(f"{name}No epoch has finished yet.")
            continue
        chosen = "the held-out training images" if selected_by(run) == "val" else "the test split itself"
        scoring = scoring_of(run)
        row, column = row_of(scoring), f"test_{scoring.best}"
        history = [row(*values) for values in table.itertuples(index=False)]
        top, end = best_of(history, selected_by(run), scoring), history[-1]
        at_top, at_end = getattr(top, column), getattr(end, column)
        state = ""
        if planned is not None and done < planned:
            state = f"Unfinished, {done} of {counted(planned, 'epoch')}. "
        else:
            finished.setdefault(scoring, []).append((at_top, at_end))
        named = f"{name}{state}Test {scoring.label(scoring.best)}"
        sentences.append(
            f"{named} {scoring.text(at_top)} at the best epoch ({top.epoch:g}, chosen by "
            f"{chosen}) and {scoring.text(at_end)} after the last ({end.epoch:g})."
        )
        if not all(math.isfinite(loss) for loss in table["train_loss"]):
            sentences.append(f"{name}Beware: the training loss became NaN or infinite.")
    for scoring, scores in finished.items():
        if len(scores) > 1:
            best, last = (scoring.spread(values) for values in zip(*scores, strict=True))
            sentences.append(
                f"Over {len(scores)} finished seeds, mean ± standard deviation: {best} at the best epoch, "
                f"{last} after the last."
            )
    return sentences


def settings_rows(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What determines the result, one name and one value per row; several runs are listed where they differ."""
    flat = [_flat(run.settings) for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    return [(name, ", ".join(dict.fromkeys(settings.get(name, "–") for settings in flat))) for name in names]


def _metrics(run: Run) -> pd.DataFrame:
    """The epochs of a run, all as floating point."""
    return run.metrics.astype("float64")


def _planned(run: Run) -> int | None:
    recipe = run.settings.get("recipe")
    epochs = recipe.get("epochs") if isinstance(recipe, dict) else None
    return epochs if isinstance(epochs, int) else None


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    rows: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            rows |= _flat(value, f"{name}.")
        elif name == "classes" and isinstance(value, list):
            some = ", ".join(map(str, value[:20])) + (" …" if len(value) > 20 else "")
            rows[name] = f"{len(value)}: {some}"
        else:
            rows[name] = _text(data_name(value) if name == "data" and isinstance(value, str) else value, name)
    return rows


def _text(value: Any, name: str) -> str:
    if value is None or value == {} or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and name in _UNITS:
        return f"{value:,} {_UNITS[name]}"
    if isinstance(value, str) and name in _UNITS:  # the size of oblong images, as 48x192
        return f"{value} {_UNITS[name]}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
