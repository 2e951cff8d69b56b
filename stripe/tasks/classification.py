"""One class for each image: cross-entropy and accuracy."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stripe.adapter import Batch, class_scores
from stripe.data import Data
from stripe.errors import StripeError
from stripe.tasks.base import Task
from stripe.tasks.registry import register
from stripe.tasks.scoring import ACCURACY, Scoring

__all__ = ["CLASSES", "Classification", "Score"]


class Score(NamedTuple):
    """How well a classifier does.

    Attributes:
        loss: Mean cross-entropy over the images.
        accuracy: Per cent of the images whose class gets the highest logit.
        top5: Per cent of the images whose class is among the five with the highest logits; NaN in training.
    """

    loss: float
    accuracy: float
    top5: float = math.nan


@register
class Classification(Task):
    """Tell which of several classes an image is of, by the mean cross-entropy.

    Args:
        classes: How many the data has; a network with fewer logits is refused. None: that is not asked.

    Attributes:
        label_smoothing: The share of each label that the loss spreads evenly over all logits, see ``smoothed``.
    """

    name: ClassVar[str] = "classification"
    scoring: Scoring = ACCURACY
    label_smoothing: float = 0.0

    def __init__(self, classes: int | None = None) -> None:
        super().__init__()
        self.classes = classes

    @classmethod
    def of_data(cls, data: Data, options: Any = None) -> Self:
        """The task of telling the classes of the data apart; there are no options.

        Raises:
            StripeError: The data has no classes.
        """
        if data.annotations:
            raise StripeError(
                f"The images of {data.spec} have {', '.join(data.annotations)}, not one class each: give a model for "
                "these, such as model='maskrcnn:resnet20' or 'fcn:resnet20', or other data."
            )
        data.require_classes()
        return cls(len(data.classes))

    def collate(self, images: Any, labels: Any) -> tuple[Any, Any]:
        """Images as they are, and classes as int64.

        Raises:
            StripeError: The labels are no whole numbers.
        """
        if isinstance(labels, Tensor) and labels.is_floating_point():
            classes = labels.long()
            if not torch.equal(classes.to(labels.dtype), labels):
                raise StripeError("The labels are not whole numbers, so they are no classes; give another task=.")
            labels = classes
        return images, labels

    def forward(self, model: nn.Module, batch: Batch, targets: Any) -> Tensor:
        """Logits (N, classes), float32; of a network that gives one, those of no and of yes."""
        logits = class_scores(super().forward(model, batch, targets), len(batch))
        if self.classes is not None and logits.shape[1] < self.classes:
            raise StripeError(f"The model tells {logits.shape[1]} classes apart, but the data has {self.classes}.")
        return logits.float()

    def losses(self, output: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """The mean cross-entropy."""
        return {"cross_entropy": F.cross_entropy(output, targets, label_smoothing=self.label_smoothing)}

    def smoothed(self, label_smoothing: float) -> Self:
        """The same task, whose cross-entropy is that with smoothed labels: (1 − ε) · one-hot + ε / classes."""
        task = copy(self)
        task.label_smoothing = label_smoothing
        return task

    def sums(self, output: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        """The hits and, outside of training, also how often the class is among the five with the highest logits."""
        logits = output.detach()
        hits = (logits.argmax(1) == targets).sum()
        if training:
            return hits[None]
        five = logits.topk(min(5, logits.shape[1])).indices == targets[:, None]
        return torch.stack((hits, five.sum()))

    def score(self, loss: float, sums: Sequence[float], images: int) -> Score:
        """See ``Score``."""
        return Score(loss, *(100 * hits / images for hits in sums))

    def text(self, value: float) -> str:
        """``93.1 %``."""
        return f"{value:.1f} %"

    def settings(self) -> None:
        """None: a run that says nothing of its task is of this one."""


CLASSES = Classification()
"""The task of a classifier whose number of classes nobody asks about."""
