"""The images that folding looks at, and how well a network does on them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stripe.capture.modes import as_input, foreign_forward
from stripe.errors import StripeError
from stripe.modes import evaluating

__all__ = ["Batch", "Batches", "Score", "check_labels", "score"]

Batch = tuple[Tensor, Tensor | None]


class Batches:
    """Images as a network takes them, on its device and in its precision, with or without labels.

    Args:
        source: What is gone through several times: a DataLoader, a list … of images (N, 3, H, W), or of tuples that
            begin with images and labels (N,).
        model: The network.
        what: What they are, for messages.

    Raises:
        StripeError: It can be gone through once only, has no length, or holds nothing.
    """

    def __init__(self, source: Iterable[Any], model: nn.Module, what: str) -> None:
        if iter(source) is source:
            raise StripeError(f"the {what} can be gone through once only; give a DataLoader or a list of batches")
        self.source, self.model, self.what = source, model, what
        try:
            len(self)
        except TypeError as error:  # a DataLoader over an IterableDataset
            raise StripeError(
                f"the {what} have no length; give a list of batches, or a loader with a length"
            ) from error
        self.device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def __iter__(self) -> Iterator[Batch]:
        """Images and labels (None where there are none)."""
        empty = True
        for batch in self.source:
            images, labels = (batch, None) if isinstance(batch, Tensor) else _pair(batch, self.what)
            empty = False
            yield as_input(self.model, images.to(self.device)), None if labels is None else labels.to(self.device)
        if empty:
            raise StripeError(f"there are no {self.what}")

    def __len__(self) -> int:
        """The number of batches."""
        return len(self.source)  # type: ignore[arg-type]

    def first(self) -> Tensor:
        """The first images."""
        return next(iter(self))[0]


class Score(NamedTuple):
    """How well a network does.

    Attributes:
        accuracy: Per cent of the images whose class gets the highest logit; NaN without labels.
        loss: Mean cross-entropy; NaN without labels.
        logits: (N, classes), on the CPU.
        hits: (N,), 1 for each image whose class gets the highest logit, else 0; NaN without labels.
    """

    accuracy: float
    loss: float
    logits: Tensor
    hits: Tensor

    def error(self, wanted: "Score") -> float:
        """How far the logits are from others: the norm of the difference, relative to that of the others."""
        return float((self.logits - wanted.logits).norm() / wanted.logits.norm())

    def uncertainty(self, wanted: "Score") -> float:
        """Standard error of the change of the accuracy, in points: how much other images as many would change it.

        Both networks saw the same images, so it is that of the mean of N differences dᵢ of 1, 0 or −1, std(d) / √N:
        only the images that one of them gets right count, most others cancel.
        """
        changes = self.hits - wanted.hits
        return 100 * float(changes.std(correction=0)) / math.sqrt(len(changes))


def score(model: nn.Module, batches: Batches) -> Score:
    """Score a network, in evaluation mode.

    Raises:
        StripeError: It does not run, returns no logits, or ones that are no finite numbers.
    """
    logits, hits, losses = [], [], []
    with evaluating(model), torch.no_grad():
        for images, labels in batches:
            with foreign_forward(model, images):
                output = model(images)
            if not isinstance(output, Tensor) or output.ndim != 2:
                raise StripeError("the model returns no logits (N, classes); only a classifier can be folded")
            output = output.float()
            if labels is not None:
                check_labels(labels, output, batches.what)
                hits.append((output.argmax(1) == labels).double().cpu())
                losses.append(float(F.cross_entropy(output, labels, reduction="sum")))
            logits.append(output.cpu())
    every = torch.cat(logits)
    if not every.isfinite().all():
        raise StripeError("the model's outputs are not all finite numbers; its weights may be damaged")
    if not losses:
        return Score(math.nan, math.nan, every, torch.full((len(every),), math.nan))
    right = torch.cat(hits)
    if len(right) < len(every):
        raise StripeError(f"some batches of the {batches.what} have labels and some have none")
    return Score(100 * float(right.mean()), math.fsum(losses) / len(every), every, right)


def check_labels(labels: Tensor, logits: Tensor, what: str) -> None:
    """See to it that labels are numbers of classes, one an image.

    Raises:
        StripeError: They are not.
    """
    classes = logits.shape[1]
    if labels.shape != logits.shape[:1] or labels.is_floating_point() or labels.is_complex():
        shape = "×".join(str(size) for size in labels.shape)
        raise StripeError(f"the labels of the {what} are {shape} ({labels.dtype}); (N,) numbers of classes are wanted")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise StripeError(
            f"the labels of the {what} go from {int(labels.min())} to {int(labels.max())}, and the model has {classes} "
            "classes"
        )


def _pair(batch: Any, what: str) -> Batch:
    if isinstance(batch, Sequence) and batch and isinstance(batch[0], Tensor):
        labels = batch[1] if len(batch) > 1 and isinstance(batch[1], Tensor) else None
        return batch[0], labels
    raise StripeError(f"a batch of the {what} is a {type(batch).__name__}; images, or (images, labels), are wanted")
