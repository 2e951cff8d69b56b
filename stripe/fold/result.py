"""The result of folding: a network, what each step did to its accuracy, and what is known of each site."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from stripe import checkpoint
from stripe.adapter import copy_model
from stripe.capture import Site
from stripe.errors import StripeError
from stripe.fold.calibration import Calibration
from stripe.fold.evaluation import Evaluation, evaluate
from stripe.fold.sample import Sample
from stripe.fold.selection import Effect
from stripe.fold.sites import Foldable
from stripe.fold.weights import Landing

__all__ = ["FoldResult", "Steps", "describe_site"]


@dataclass(frozen=True, repr=False)
class FoldResult:
    """A folded network and what folding did to it.

    Attributes:
        model: The network, in evaluation mode, without the folded sites' attention and its parameters.
        sites: One row per site, those that are not folded included: ``site``, ``kind``, ``stripe_index`` (η²), ``std``
            (channel std, its mean over the channels), of folding it alone ``error`` (of the logits, relative),
            ``accuracy_change`` and its ``uncertainty`` (standard error over images, points) and ``loss_change``;
            ``milliseconds`` that its module took for a batch; ``folded``: ``backwards``, ``forwards``, ``left`` (one
            multiplication a channel stays), ``kept`` (it was not chosen) or ``not foldable``; ``into``, the layers that
            took it; ``reason`` for those that none took.
        steps: One row per step, on the held-out images: ``step``, ``accuracy`` (per cent), ``uncertainty`` (standard
            error of its change against attention over images, points), ``loss``, ``error`` (of the logits, relative),
            and whether it was ``kept``. Where the agreement with the network with attention was measured, that is
            ``agreement``, in the table of the sites ``agreement_change``, and there is no loss. Where a task judged by
            annotations, it is the task's measure, ``ap`` or ``miou``, and there is no error.
        frontier: Accuracy against speed, see `stripe.fold.selection.curve`; None where it was not asked for.
        speed: Speed of the folded network, relative to the one with attention, on this machine and a calibration batch.
        folded: The description by which `stripe.models.surgery.restructure` makes the same structure.
        built_from: What the network with attention says that it was built from; empty where it says nothing.
    """

    model: nn.Module
    sites: pd.DataFrame
    steps: pd.DataFrame
    frontier: pd.DataFrame | None
    speed: float
    folded: dict[str, Any] = field(repr=False)
    built_from: dict[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        constant = int((~self.sites["folded"].isin(["kept", "not foldable"])).sum())
        first, last = self.steps.iloc[0], self.steps[self.steps["kept"]].iloc[-1]
        measures = [name for name in ("accuracy", "agreement", "ap", "miou") if pd.notna(last.get(name))]
        scored = "".join(f", {name} {first[name]:.2f} to {last[name]:.2f} %" for name in measures)
        return f"FoldResult({constant} of {len(self.sites)} sites folded{scored}, speed × {self.speed:.2f})"

    def save(self, path: str | Path, meta: Mapping[str, Any] | None = None) -> None:
        """Save the network so that ``stripe.load`` builds it again; nothing is pickled.

        Args:
            path: Path of the file, ``….safetensors``.
            meta: What the network with attention is built from: ``model``, ``num_classes``, ``attention``, ``args``, as
                for ``stripe.checkpoint.save``. By default it is what the network says of itself, as timm's do. Of
                others the file then does not say it, and is loaded by ``stripe.load(path, network)``.

        Raises:
            StripeError: The file cannot be written, or the description names no model.
        """
        report = {"sites": _records(self.sites), "steps": _records(self.steps)}
        if meta is None:
            checkpoint.save(path, self.model, {**self.built_from, "folded": self.folded, "fold": report})
            return
        if not isinstance(meta, Mapping) or not isinstance(meta.get("model"), str):
            raise StripeError(
                f"{path}: say what the network with attention is built from, such as "
                '{"model": "timm:seresnet50", "num_classes": 1000}; code of your own is "python:package.module:factory"'
            )
        checkpoint.save(path, self.model, {**meta, "folded": self.folded, "fold": report})


def describe_site(
    site: Site,
    moments: Calibration | None,
    place: Foldable | None,
    landing: Landing | None,
    effect: Effect | None,
    seconds: float | None,
    reason: str,
    measure: str,
) -> dict[str, Any]:
    """A row of the table of sites, see `FoldResult`."""
    if place is None:
        landing = Landing("not foldable", reason=reason)
    elif landing is None:
        landing = Landing("kept", reason="not chosen")
    effect = effect or Effect(nan, nan, nan, nan)
    return {
        "site": site.name,
        "kind": site.kind,
        "stripe_index": moments.stripe_index if moments else nan,
        "std": moments.std if moments else nan,
        "error": effect.error,
        f"{measure}_change": effect.accuracy,
        "uncertainty": effect.uncertainty,
        "loss_change": effect.loss,
        "milliseconds": nan if seconds is None else 1e3 * seconds,
        "folded": landing.where,
        "into": ", ".join(landing.layers),
        "reason": landing.reason,
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON can hold them: null where a number is undefined."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


class Steps:
    """Scores the network after each step.

    Args:
        images: To score on.
        original: The score with attention.
    """

    def __init__(self, images: Sample, original: Evaluation) -> None:
        self.images, self.original = images, original
        self.rows = [self._row("attention", original)]

    def add(self, name: str, model: nn.Module) -> None:
        """Write down what a step led to."""
        self.rows.append(self._row(name, evaluate(model, self.images)))

    def attempt(self, name: str, way: Callable[[nn.Module], str], model: nn.Module) -> nn.Module:
        """A step that is undone where it makes the loss (without labels: the error) larger.

        Args:
            name: The name of the step.
            way: Changes a network in place, and says how much of it.
            model: The network, not changed.

        Returns:
            The changed network, or the same.
        """
        best = next(row for row in reversed(self.rows) if row["kept"])
        changed = copy_model(model)
        extent = way(changed)
        row = self._row(f"{name} ({extent})", evaluate(changed, self.images))
        if self.images.metric is not None:
            row["kept"] = bool(row[self.original.measure] >= best[self.original.measure])
        else:
            by = "error" if row["loss"] != row["loss"] else "loss"  # NaN without labels
            row["kept"] = bool(row[by] <= best[by])
        self.rows.append(row)
        return changed if row["kept"] else model

    def table(self) -> pd.DataFrame:
        """One row per step, see `stripe.fold.FoldResult.steps`."""
        return pd.DataFrame(self.rows)

    def _row(self, name: str, found: Evaluation) -> dict[str, Any]:
        return {
            "step": name,
            found.measure: found.accuracy,
            "uncertainty": found.uncertainty(self.original),
            "loss": found.loss,
            "error": found.error(self.original),
            "kept": True,
        }
