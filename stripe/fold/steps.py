"""What each step of folding did to the accuracy, and whether it stays."""

from collections.abc import Callable
from typing import Any

import pandas as pd
from torch import nn

from stripe.adapter import copy_model
from stripe.fold.batches import Batches, Score, score

__all__ = ["Steps", "counted"]


class Steps:
    """Scores the network after each step.

    Args:
        images: To score on.
        original: The score with attention.
    """

    def __init__(self, images: Batches, original: Score) -> None:
        self.images, self.original = images, original
        self.rows = [self._row("attention", original)]

    def add(self, name: str, model: nn.Module) -> None:
        """Write down what a step led to."""
        self.rows.append(self._row(name, score(model, self.images)))

    def attempt(self, name: str, way: Callable[[nn.Module], str], model: nn.Module) -> nn.Module:
        """A step that is undone where it makes the loss (without labels: the error) larger.

        Args:
            name: What it is called.
            way: Changes a network in place, and says how much of it.
            model: The network, not changed.

        Returns:
            The changed network, or the same.
        """
        best = next(row for row in reversed(self.rows) if row["kept"])
        changed = copy_model(model)
        extent = way(changed)
        row = self._row(f"{name} ({extent})", score(changed, self.images))
        by = "error" if row["loss"] != row["loss"] else "loss"  # NaN without labels
        row["kept"] = bool(row[by] <= best[by])
        self.rows.append(row)
        return changed if row["kept"] else model

    def table(self) -> pd.DataFrame:
        """A row a step, see `stripe.fold.FoldResult.steps`."""
        return pd.DataFrame(self.rows)

    def _row(self, name: str, found: Score) -> dict[str, Any]:
        return {
            "step": name,
            found.measure: found.accuracy,
            "uncertainty": found.uncertainty(self.original),
            "loss": found.loss,
            "error": found.error(self.original),
            "kept": True,
        }


def counted(number: int, thing: str) -> str:
    """``1 layer``, ``2 layers``."""
    return f"{number} {thing}{'s' * (number != 1)}"
