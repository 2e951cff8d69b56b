"""Accuracies beside speeds, from the runs that trained the networks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stripe.bench.variant import Variant
from stripe.errors import StripeError
from stripe.names import data_name, run_name
from stripe.plots.runs import by_network, selected_by
from stripe.training import Run

__all__ = ["add_accuracy"]

_SELECTED = {
    "val": "accuracy on the test split at the best epoch by held-out training images",
    "test": "accuracy on the test split at the best epoch by that split itself",
}


def add_accuracy(table: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """Add the test accuracies of trained networks to a table of speeds.

    A fused network has the accuracy of the run that trained it, as fusing does not change its outputs.

    Args:
        table: From `measure`; not changed.
        runs: Of networks in the table. Several of one network differ in the seed alone.

    Returns:
        The table with ``accuracy``, in per cent at the best epoch, the mean over seeds; ``accuracy_std``, its standard
        deviation (n − 1), NaN with one seed; ``last_accuracy``, the mean after the last epoch; ``runs``, how many. NaN
        and 0 where there is no run. ``attrs["accuracy_of"]`` says the data, how the best epoch was chosen, and the
        scale.

    Raises:
        StripeError: A run is of a network that is not in the table, has not finished an epoch, or the runs are no
            comparison: of different data, or of one network trained in different ways.
    """
    measured = [Variant(row.backbone, row.attention, row.asr) for row in table.itertuples()]  # type: ignore[arg-type]
    data = dict.fromkeys(str(run.settings["data"]) for run in runs)
    if len(data) > 1:
        raise StripeError(f"runs on different data ({', '.join(data)}) have accuracies that cannot be compared")
    found: dict[Variant, list[Run]] = {}
    for group in by_network(runs).values():
        variant, first = Variant.parse(run_name(group[0].settings)), group[0].path
        if variant in found:
            raise StripeError(f"{first} trained {variant} in another way than the runs before; give one way only")
        if variant not in measured:
            raise StripeError(f"{first} trained {variant}, which is not in the table; measure that as well")
        found[variant] = group
    best = {variant: [run.best.test_accuracy for run in group] for variant, group in found.items()}
    last = {variant: [run.history[-1].test_accuracy for run in group] for variant, group in found.items()}
    result = table.assign(
        accuracy=[np.mean(best[v]) if v in found else np.nan for v in measured],
        accuracy_std=[np.std(best[v], ddof=1) if len(found.get(v, ())) > 1 else np.nan for v in measured],
        last_accuracy=[np.mean(last[v]) if v in found else np.nan for v in measured],
        runs=[len(found.get(v, ())) for v in measured],
    )
    selected = dict.fromkeys(_SELECTED[selected_by(run)] for run in runs)
    scales = dict.fromkeys(run.scale for run in runs)
    result.attrs = {**table.attrs, "accuracy_of": [*map(data_name, data), *selected, *scales]}
    return result
