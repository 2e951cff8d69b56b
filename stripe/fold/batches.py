"""The images that folding looks at, how well a network does on them, and data sets in the form that folding takes."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from stripe.adapter import Batch, batch_of, class_scores, run
from stripe.data import Batches as DataBatches
from stripe.data import Data, Split, train_batches
from stripe.errors import StripeError
from stripe.modes import evaluating
from stripe.training import Compute

__all__ = ["Augmented", "Batches", "Fed", "Measure", "Score", "check_labels", "score"]

Measure = Literal["accuracy", "agreement"]
"""Share of the images whose label, or whose class by the network with attention, gets the highest logit."""


class Batches:
    """Images as a network takes them, on its device and in its precision, with or without labels.

    Args:
        source: A DataLoader or a list of batches, of any form that `stripe.adapter.batch_of` understands. It is gone
            through several times.
        model: The network.
        what: What the images are, for messages.

    Attributes:
        measure: What a network is scored by.
        predicted: (N,), for the agreement: the classes that the network with attention predicts.

    Raises:
        StripeError: It can be gone through once only, has no length, or holds nothing.
    """

    def __init__(self, source: Iterable[Any], model: nn.Module, what: str) -> None:
        if isinstance(source, Tensor) or not hasattr(source, "__iter__"):
            raise StripeError(f"the {what} are a {type(source).__name__}; give a DataLoader or a list of batches")
        if iter(source) is source:
            raise StripeError(f"the {what} can be gone through once only; give a DataLoader or a list of batches")
        self.source, self.model, self.what = source, model, what
        self.measure: Measure = "accuracy"
        self.predicted: Tensor | None = None
        try:
            len(self)
        except TypeError as error:  # a DataLoader over an IterableDataset
            raise StripeError(
                f"the {what} have no length; give a list of batches, or a loader with a length"
            ) from error
        self.device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def __iter__(self) -> Iterator[tuple[Batch, Tensor | None]]:
        """Images and labels (None where there are none)."""
        empty = True
        for item in self.source:
            batch = batch_of(item, self.model).stacked()
            if not len(batch):
                continue
            if isinstance(batch.images, Tensor) and not batch.images.is_floating_point():
                raise StripeError(
                    f"the {self.what} are {batch.images.dtype}; floating-point numbers are wanted, normalised as the "
                    "network takes them"
                )
            empty = False
            labels = _labels(item, batch)
            yield batch.on(self.model), None if labels is None else labels.to(self.device)
        if empty:
            raise StripeError(f"there are no {self.what}")

    def __len__(self) -> int:
        """The number of batches."""
        return len(self.source)  # type: ignore[arg-type]

    def first(self) -> Batch:
        """The first batch of two images or more; of one, where none has more."""
        found = None
        for batch, _ in self:
            found = found or batch
            if len(batch) > 1:
                return batch
        assert found is not None
        return found

    def in_order(self) -> "Batches":
        """The same, where they come in one order every time.

        Raises:
            StripeError: They are shuffled, so that networks could not be compared image by image.
        """
        if isinstance(self.source, DataLoader) and isinstance(self.source.sampler, RandomSampler):
            raise StripeError(
                f"the {self.what} are shuffled anew each time, and networks are compared on them image by image; give "
                "a DataLoader with shuffle=False" + ("" if "held" in self.what else ", or held_out= to compare on")
            )
        return self


class Score(NamedTuple):
    """How well a network does.

    Attributes:
        accuracy: Per cent of the images whose class gets the highest logit; NaN without labels.
        loss: Mean cross-entropy; NaN without labels.
        logits: (N, classes), on the CPU.
        hits: (N,), 1 for each image whose class gets the highest logit, else 0; NaN without labels.
        measure: Whether an image's class is its label (``accuracy``), or the one that the network with attention
            predicts (``agreement``), where the labels are no classes of the network.
    """

    accuracy: float
    loss: float
    logits: Tensor
    hits: Tensor
    measure: Measure = "accuracy"

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
        for batch, labels in batches:
            found = class_scores(run(model, batch), len(batch)).float()
            if labels is not None and batches.measure == "accuracy":
                labels = check_labels(labels, found, batches.what)
                hits.append((found.argmax(1) == labels).double().cpu())
                losses.append(float(F.cross_entropy(found, labels, reduction="sum")))
            logits.append(found.cpu())
    if len({part.shape[1] for part in logits}) > 1:
        raise StripeError("the model gives another number of scores for another batch; only a classifier can be folded")
    every = torch.cat(logits)
    if not every.isfinite().all():
        raise StripeError("the model's outputs are not all finite numbers; its weights may be damaged")
    if batches.predicted is not None:
        agreed = (every.argmax(1) == batches.predicted).double()
        return Score(100 * float(agreed.mean()), math.nan, every, agreed, "agreement")
    if not losses:
        return Score(math.nan, math.nan, every, torch.full((len(every),), math.nan))
    right = torch.cat(hits)
    if len(right) < len(every):
        raise StripeError(f"some batches of the {batches.what} have labels and some have none")
    return Score(100 * float(right.mean()), math.fsum(losses) / len(every), every, right)


def check_labels(labels: Tensor, scores: Tensor, what: str) -> Tensor:
    """See to it that labels are numbers of classes, one per image.

    Args:
        labels: (N,) integers; of a network that tells two classes apart also 0.0 and 1.0, (N,) or (N, 1), as the binary
            cross-entropy takes them.
        scores: (N, classes).
        what: What the images are, for the message.

    Returns:
        (N,) int64.

    Raises:
        StripeError: They are not.
    """
    count, classes = scores.shape
    if classes == 2 and labels.numel() == count and bool(((labels == 0) | (labels == 1)).all()):
        return labels.reshape(count).long()
    if labels.shape != (count,) or labels.is_floating_point() or labels.is_complex():
        shape = "×".join(str(size) for size in labels.shape)
        raise StripeError(f"the labels of the {what} are {shape} ({labels.dtype}); (N,) numbers of classes are wanted")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise StripeError(
            f"the labels of the {what} go from {int(labels.min())} to {int(labels.max())}, and the model has {classes} "
            "classes"
        )
    return labels.long()


def _labels(item: Any, batch: Batch) -> Tensor | None:
    """The labels as they are given, also where they are no classes, which is then said; −1 for all is none."""
    given = item[1] if isinstance(item, tuple | list) and len(item) > 1 else None
    if isinstance(given, Tensor) and isinstance(item[0], Tensor) and item[0].shape == batch.images.shape:  # type: ignore[union-attr]
        return None if given.shape == (len(batch),) and bool((given == -1).all()) else given
    return None if bool((batch.labels == -1).all()) else batch.labels


@dataclass(frozen=True)
class Fed:
    """The images of a split as the network takes them, the same each time.

    Attributes:
        batches: The batches of the split's loader.
        data: The data set, which says how its images are normalised.
        compute: The device and precision.
        positions: (labels,), the network's class for each label; None: they are the same.
    """

    batches: DataBatches
    data: Data
    compute: Compute
    positions: npt.NDArray[np.int64] | None = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (N, 3, H, W), normalised, and labels (N,)."""
        for images, labels in self.batches:
            yield self.compute.input(self.data, images), _renumbered(labels, self.positions)

    def __len__(self) -> int:
        """The number of batches."""
        return len(self.batches)


@dataclass
class Augmented:
    """Training images, cropped and flipped anew, and in another order, each time.

    Attributes:
        split: The images.
        batch_size: Images per batch.
        seed: Decides order and augmentation.
        data: The data set, which says how its images are normalised.
        compute: The device and precision.
        workers: The number of processes that decode.
        images_per_epoch: How many images are taken each time, others each time; None: all.
        positions: (labels,), the network's class for each label; None: they are the same.
    """

    split: Split
    batch_size: int
    seed: int
    data: Data
    compute: Compute
    workers: int | None = None
    images_per_epoch: int | None = None
    positions: npt.NDArray[np.int64] | None = None
    epoch: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (N, 3, H, W), normalised, and labels (N,)."""
        self.epoch += 1
        for images, labels in self._batches(self.epoch):
            yield self.compute.input(self.data, images), _renumbered(labels, self.positions)

    def __len__(self) -> int:
        """The number of batches."""
        return len(self._batches(1))

    def _batches(self, epoch: int) -> DataBatches:
        return train_batches(
            self.split,
            self.batch_size,
            seed=self.seed,
            epoch=epoch,
            images_per_epoch=self.images_per_epoch,
            device=self.compute.device,
            workers=self.workers,
        )


def _renumbered(labels: Tensor, positions: npt.NDArray[np.int64] | None) -> Tensor:
    return labels if positions is None else torch.from_numpy(positions).to(labels.device)[labels]
