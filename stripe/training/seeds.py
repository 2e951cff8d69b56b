"""Repetition of a training with several seeds, to see how far results differ by chance."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stripe.data import Data
from stripe.errors import StripeError
from stripe.files import write_whole
from stripe.provenance import provenance
from stripe.training.run import Run
from stripe.training.trainer import train
from stripe.training.world import join

__all__ = ["SUMMARY", "summarise", "train_seeds"]

SUMMARY = "seeds.json"
"""Name of the summary in the folder of the runs."""

FORMAT = "stripe-seeds"


def train_seeds(
    out: str | Path,
    data: Data,
    seeds: Sequence[int],
    *,
    on_seed: Callable[[int], None] | None = None,
    **settings: Any,
) -> list[Run]:
    """Train once for each seed, into ``OUT/seed-0`` and so on, and summarise the runs in ``OUT/seeds.json``.

    The same call goes on where an interrupted one stopped.

    Args:
        out: The folder of the run directories.
        data: What to train on.
        seeds: Which seeds.
        on_seed: Called with each before its training.
        **settings: Arguments of ``stripe.training.train``.

    Returns:
        The runs, finished, in the order of ``seeds``.

    Raises:
        StripeError: ``out`` is a run itself, or as for ``stripe.training.train``.
    """
    out = Path(out)
    if (out / "run.json").exists():
        raise StripeError(f"{out} holds a single run; give another folder for several seeds.")
    with join(settings.get("device")) as world:
        runs = []
        for seed in seeds:
            if on_seed:
                on_seed(seed)
            runs.append(train(out / f"seed-{seed}", data, seed=seed, **settings))
        if world.leads:
            record = {"format": FORMAT, **summarise(runs), "provenance": provenance()}
            write_whole(out / SUMMARY, f"{json.dumps(record, indent=2, ensure_ascii=False)}\n".encode())
    return runs


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and standard deviation over runs that differ in their seed alone.

    Args:
        runs: Finished ones, at least one.

    Returns:
        Ready for JSON: ``scale``; ``select``, what each best epoch is chosen by; ``runs``, for each its seed, the best
        epoch, and the test scores (of classification accuracies in per cent) at the ``best`` and the ``last`` epoch;
        ``best`` and ``last``, the ``mean`` and ``std`` of those, the standard deviation that of the sample (None of a
        single run).
    """
    column = f"test_{runs[0].scoring.best}"
    rows = [
        {
            "seed": run.settings["seed"],
            "best_epoch": run.best.epoch,
            "best": getattr(run.best, column),
            "last": getattr(run.history[-1], column),
        }
        for run in runs
    ]
    return {
        "scale": runs[0].scale,
        "select": runs[0].settings["select"],
        "runs": rows,
        **{key: _spread([float(row[key]) for row in rows]) for key in ("best", "last")},
    }


def _spread(values: list[float]) -> dict[str, float | None]:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}
