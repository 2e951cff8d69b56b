"""What the page shows of structure searches: the weights of each block over the epochs, and what is chosen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stripe.analysis import search_controls
from stripe.analysis.wording import difference_text
from stripe.plots.common import short_names
from stripe.tasks import ACCURACY, structure
from stripe.training.run import Run

__all__ = ["search_record", "search_sentence"]


def search_record(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The weights of searches that differ in nothing but the seed, ready for JSON.

    Args:
        runs: Trainings.

    Returns:
        ``operations`` and ``blocks``, their names; ``epochs``, from 0, before the first; ``weights`` (blocks,
        operations, epochs), the means over the seeds; ``chosen``, the choice of each block, that of most seeds, and
        ``parts``, the positions of the operations that it consists of; ``counts``, how many seeds made it; ``same`` and
        ``chance``, for how many blocks all seeds made the same, and would by chance; ``seeds``, how many searches there
        are; ``controls``, rows of words from ``stripe.analysis.search_controls``, None without any. None if there is no
        search.

    Raises:
        StripeError: A file is damaged, or the searches are of different networks.
    """
    searches = [structure.read(run.path) for run in runs if (run.path / structure.FILE).exists()]
    if not searches:
        return None
    agreed = structure.agreement(searches)
    weights = structure.trajectories(searches)
    same, chance = structure.unanimous(searches)
    mean = weights.mean("seed").transpose("block", "operation", "epoch").to_numpy().astype(np.float64)
    positions = {name: position for position, name in enumerate(structure.OPERATIONS)}
    return {
        "operations": [structure.LABELS[name] for name in structure.OPERATIONS],
        "blocks": short_names(list(agreed))[0],
        "epochs": weights["epoch"].to_numpy().tolist(),
        "weights": mean.round(6).tolist(),
        "chosen": [structure.LABELS[choice] for choice, _ in agreed.values()],
        "parts": [
            [positions[part] for part in structure.PARTS.get(choice, (choice,))] for choice, _ in agreed.values()
        ],
        "counts": [count for _, count in agreed.values()],
        "controls": _control_rows(search_controls.read({run.path: run.settings.get("seed", 0) for run in runs})),
        "same": same,
        "chance": round(chance, 6),
        "seeds": len(searches),
    }


def _control_rows(table: pd.DataFrame | None) -> list[dict[str, str]] | None:
    """What was found and each of its controls, in words."""
    if table is None:
        return None
    number = ACCURACY.text
    return [
        {
            "choice": row["choice"],
            "last": number(row["last"]),
            "best": number(row["best"]),
            "difference": difference_text(row["difference"], row["low"], row["high"]),
        }
        for row in search_controls.compared(table).to_dict("records")
    ]


def search_sentence(record: dict[str, Any]) -> str:
    """How many blocks got what, and whether the seeds agree."""
    chosen, seeds = record["chosen"], record["seeds"]
    found = ", ".join(f"{name} in {chosen.count(name)}" for name in dict.fromkeys(chosen))
    text = f"Of {len(chosen)} block{'s' * (len(chosen) > 1)} after epoch {record['epochs'][-1]}: {found}."
    if structure.UNDECIDED in chosen:
        text += f" A block is undecided where no choice leads by {structure.CLOSE:g}."
    if seeds > 1:
        text += (
            f" All {seeds} seeds chose the same in {record['same']} of them, where chance (each seed's choices, "
            f"shuffled over the blocks) would give {record['chance']:.1f}; the choice shown is the most frequent."
        )
    return text
