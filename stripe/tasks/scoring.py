"""What a task measures and how its numbers are called; read from a run's settings, it needs no torch."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stripe.errors import StripeError

__all__ = ["ACCURACY", "Scoring"]


@dataclass(frozen=True)
class Scoring:
    """What a task measures, and which epoch it calls the best.

    Attributes:
        measures: Fields of its scores that every epoch records, ``loss`` among them. Columns of ``metrics.csv`` are
            these with ``train_``, ``test_`` and ``val_`` before them.
        best: The measure by which epochs are compared.
        higher_is_better: Whether the best epoch has the highest or the lowest value of it.
        losses: Those of the measures that are losses of the task by name, see ``stripe.tasks.Task.losses``.
        labels: What a measure is called in sentences and pictures, where that is not its own name.
        units: The unit of a measure, such as ``"%"``, where it has one.

    Raises:
        StripeError: The names are no names, or ``loss``, ``best`` or a loss is not among the measures.
    """

    measures: tuple[str, ...] = ("loss", "accuracy")
    best: str = "accuracy"
    higher_is_better: bool = True
    losses: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)
    units: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)

    def __post_init__(self) -> None:
        names = self.measures
        if not names or not all(isinstance(name, str) and name.isidentifier() for name in names):
            raise StripeError(f"a task measures {names!r}; names are wanted, such as ('loss', 'error')")
        if len(set(names)) < len(names) or not {"loss", self.best} <= set(names):
            raise StripeError(
                f"a task measures {', '.join(names)} and compares epochs by {self.best}: each name is wanted once, "
                "loss and that one among them"
            )
        if "loss" in self.losses or not set(self.losses) <= set(names):
            raise StripeError(
                f"the losses {', '.join(map(str, self.losses))} are to be recorded by name: each must be among the "
                f"measures ({', '.join(names)}), and none be called loss, which is their sum"
            )

    @classmethod
    def read(cls, settings: Any) -> "Scoring":
        """The scoring in the settings of a run, as ``Task.settings`` gave them; None is classification.

        Raises:
            StripeError: The settings are damaged.
        """
        if settings is None:
            return ACCURACY
        try:
            words = [dict(settings.get(key, {})) for key in ("labels", "units")]
            losses = tuple(settings.get("losses", ()))
            scoring = cls(tuple(settings["measures"]), settings["best"], settings["higher_is_better"], losses, *words)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StripeError(f"the task of this run is not described as one: {error}") from error
        if not isinstance(scoring.higher_is_better, bool):
            raise StripeError(f"higher_is_better is {scoring.higher_is_better!r}; true or false is wanted")
        if any(not isinstance(text, str) for each in words for text in each.values()):
            raise StripeError("the labels and units of the measures must be texts")
        return scoring

    def settings(self) -> dict[str, Any]:
        """What ``read`` reads, ready for JSON; what is not said is left away."""
        said = {"losses": list(self.losses), "labels": dict(self.labels), "units": dict(self.units)}
        return {
            "measures": list(self.measures),
            "best": self.best,
            "higher_is_better": self.higher_is_better,
            **{key: value for key, value in said.items() if value},
        }

    def is_better(self, value: float, than: float) -> bool:
        """Whether a network with one value of ``best`` is better than one with another; NaN is the worst."""
        if math.isnan(value) or math.isnan(than):
            return math.isnan(than) and not math.isnan(value)
        return value > than if self.higher_is_better else value < than

    def best_of(self, values: Sequence[float], losses: Sequence[float]) -> int:
        """The place of the best epoch, the first where there are several.

        Args:
            values: What each epoch has of ``best``, at least one.
            losses: The loss of each, which decides where all values are NaN: nothing was there to measure.

        Example:
            >>> ACCURACY.best_of([90, 92, 91], [0.4, 0.5, 0.3]), ACCURACY.best_of([math.nan] * 3, [0.4, 0.5, 0.3])
            (1, 2)
        """
        if all(math.isnan(value) for value in values):
            return min(range(len(losses)), key=lambda place: (math.isnan(losses[place]), losses[place]))
        best = 0
        for place, value in enumerate(values):
            best = place if self.is_better(value, values[best]) else best
        return best

    def label(self, measure: str) -> str:
        """What a measure is called.

        Example:
            >>> Scoring(("loss", "mean_iou"), best="mean_iou").label("mean_iou")
            'mean iou'
        """
        return self.labels.get(measure, measure.replace("_", " "))

    def axis(self, measure: str) -> str:
        """What a measure is called at an axis: with its unit.

        Example:
            >>> ACCURACY.axis("loss"), ACCURACY.axis("accuracy")
            ('cross-entropy', 'accuracy (%)')
        """
        unit = self.units.get(measure)
        return self.label(measure) + (f" ({unit})" if unit else "")

    def number(self, value: float, measure: str | None = None) -> str:
        """A value of a measure, by default of ``best``, without its unit: per cent to hundredths; NaN is unknown.

        Example:
            >>> ACCURACY.number(93.125), Scoring(("loss",), best="loss").number(0.031254), ACCURACY.number(math.nan)
            ('93.12', '0.03125', 'unknown')
        """
        if math.isnan(value):
            return "unknown"
        return f"{value:.2f}" if self.units.get(measure or self.best) == "%" else f"{value:.4g}"

    def spread(self, values: Sequence[float], measure: str | None = None) -> str:
        """The mean of several values of a measure, by default of ``best``, and their standard deviation, with its unit.

        Example:
            >>> ACCURACY.spread([93, 94]), ACCURACY.spread([93])
            ('93.50 ± 0.71 %', '93.00 %')
        """
        mean = statistics.fmean(values)
        if len(values) == 1 or math.isnan(mean):
            return self.text(mean, measure)
        return f"{self.number(mean, measure)} ± {self.text(statistics.stdev(values), measure)}"

    def text(self, value: float, measure: str | None = None) -> str:
        """A value of a measure, by default of ``best``, with its unit.

        Example:
            >>> ACCURACY.text(93.125)
            '93.12 %'
        """
        unit = "" if math.isnan(value) else self.units.get(measure or self.best)
        return self.number(value, measure) + (f" {unit}" if unit else "")


ACCURACY = Scoring(labels={"loss": "cross-entropy"}, units={"accuracy": "%"})
"""How classification is scored, and every run whose settings name no task."""
