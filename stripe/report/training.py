"""What the page shows of trainings: curves, results, settings."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stripe.names import data_name
from stripe.plots.diff import learning_rate_drops
from stripe.plots.runs import selected_by
from stripe.training import EpochMetrics, Run
from stripe.training.run import best_of

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
        A record a run: ``name``; every column of `EpochMetrics`, null where a number is missing; ``drops``, between
        which epochs the learning rate drops.
    """
    records = []
    for run in runs:
        table = _metrics(run)
        if len(table):
            rates = table["learning_rate"].to_numpy()
            drops = learning_rate_drops(rates).tolist() if len(rates) > 1 else []
            records.append(
                {
                    "name": run.path.absolute().name,
                    **{str(name): [_number(value) for value in column] for name, column in table.items()},
                    "drops": [float(table["epoch"].iloc[drop]) - 0.5 for drop in drops],
                }
            )
    return records


def results(runs: Sequence[Run]) -> list[str]:
    """How the trainings ended, a sentence each: how far they are, and the test accuracy of the best and last epoch."""
    sentences, best, last = [], [], []
    for run in runs:
        name = f"{run.path.absolute().name}: " if len(runs) > 1 else ""
        table, planned = _metrics(run), _planned(run)
        done = len(table)
        if not done:
            sentences.append(f"{name}No epoch has finished yet.")
            continue
        chosen = "the held-out training images" if selected_by(run) == "val" else "the test split itself"
        history = [EpochMetrics(*row) for row in table.itertuples(index=False)]
        top, end = best_of(history, selected_by(run)), history[-1]
        unfinished = planned is not None and done < planned
        if not unfinished:
            best.append(top.test_accuracy)
            last.append(end.test_accuracy)
        state = f"Unfinished, {done} of {planned} epochs. " if unfinished else ""
        sentences.append(
            f"{name}{state}Test accuracy {top.test_accuracy:.2f} % at the best epoch ({top.epoch:g}, chosen by "
            f"{chosen}) and {end.test_accuracy:.2f} % after the last ({end.epoch:g})."
        )
        if not all(math.isfinite(loss) for loss in table["train_loss"]):
            sentences.append(f"{name}Beware: the training loss became NaN or infinite.")
    if len(best) > 1:
        sentences.append(
            f"Over {len(best)} finished seeds, mean ± standard deviation: {_spread(best)} % at the best epoch, "
            f"{_spread(last)} % after the last."
        )
    return sentences


def settings_rows(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What determines the result, a name and a value each; several runs are listed where they differ."""
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


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"
