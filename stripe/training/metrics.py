"""Metrics of the epochs of a run, one row per epoch, and the choice of the best epoch."""

import math
from collections import namedtuple
from collections.abc import Sequence
from typing import Any, NamedTuple

from stripe.errors import StripeError
from stripe.tasks import ACCURACY, Scored, Scoring

__all__ = ["EpochMetrics", "best_of", "measured", "row_of"]


class EpochMetrics(NamedTuple):
    """How an epoch went. This is the row of classification; other tasks name other columns, see ``row_of``.

    Attributes:
        epoch: Which, from 1.
        learning_rate: The rate that it was trained with; where that changes within the epoch, the one of its last step.
        train_loss: Mean cross-entropy of the augmented images, as they were seen.
        train_accuracy: Per cent of those that were classified rightly.
        test_loss: Mean cross-entropy of the test split after the epoch.
        test_accuracy: Per cent of the test split classified rightly after the epoch.
        seconds: Duration: training, test and capture.
        images_per_second: Training images a second, without test and capture.
        val_loss: Mean cross-entropy of the images that were held out of the training split; NaN where none were.
        val_accuracy: Per cent of those classified rightly.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float
    images_per_second: float
    val_loss: float = math.nan
    val_accuracy: float = math.nan


def row_of(scoring: Scoring) -> type[EpochMetrics]:
    """The kind of row that a task's epochs have.

    Args:
        scoring: What the task measures.

    Returns:
        ``EpochMetrics``, or a named tuple that has the task's measures where that has loss and accuracy.

    Example:
        >>> row_of(Scoring(("loss",), best="loss", higher_is_better=False))._fields
        ('epoch', 'learning_rate', 'train_loss', 'test_loss', 'seconds', 'images_per_second', 'val_loss')
    """
    if scoring.measures == ACCURACY.measures:
        return EpochMetrics
    train, test, val = ([f"{split}_{name}" for name in scoring.measures] for split in ("train", "test", "val"))
    columns = ["epoch", "learning_rate", *train, *test, "seconds", "images_per_second", *val]
    make: Any = namedtuple
    return make("EpochMetrics", columns, defaults=[math.nan] * len(val))  # type: ignore[no-any-return]


def measured(scoring: Scoring, split: str, score: Scored | None) -> dict[str, float]:
    """The columns of one split: ``train``, ``test`` or ``val``.

    Args:
        scoring: What the task measures.
        split: Which.
        score: How well the network does on it; None: NaN.

    Raises:
        StripeError: The score has no such field.
    """
    if score is None:
        return {f"{split}_{name}": math.nan for name in scoring.measures}
    if missing := [name for name in scoring.measures if not hasattr(score, name)]:
        raise StripeError(f"the task measures {', '.join(missing)}, but its score, a {type(score).__name__}, does not")
    return {f"{split}_{name}": float(getattr(score, name)) for name in scoring.measures}


def best_of(history: Sequence[EpochMetrics], select: str, scoring: Scoring | None = None) -> EpochMetrics:
    """The best epoch, the first where there are several: the one with the highest accuracy, or as the task says.

    Where what the task compares epochs by is NaN in all of them, it is the one with the lowest loss.

    Args:
        history: At least one epoch.
        select: By which images: ``val`` or ``test``.
        scoring: What the task measures; default classification.
    """
    scoring = scoring or ACCURACY
    values, losses = ([getattr(metrics, f"{select}_{name}") for metrics in history] for name in (scoring.best, "loss"))
    return history[scoring.best_of(values, losses)]
