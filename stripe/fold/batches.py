"""The images that folding looks at, how well a network does on them, and data sets in the form that folding takes."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from stripe.adapter import Batch, batch_of, class_scores, run, tensors_of
from stripe.data import Batches as DataBatches
from stripe.data import Data, Split, train_batches
from stripe.errors import StripeError
from stripe.fold.proposals import Undecided
from stripe.modes import evaluating
from stripe.training import Compute

__all__ = ["Augmented", "Batches", "Fed", "Measure", "Metric", "Score", "check_labels", "score"]

Measure = Literal["accuracy", "agreement", "outputs"]
"""Share of the images whose label, or whose class by the network with attention, gets the highest logit; or nothing but
the change of the outputs, whatever they are."""

Metric = Callable[[Any, Any], Any]
"""From the outputs of a network and the item that the loader gave: one number per image, higher is better."""

MOST = 2**15
"""Numbers per image and output that are compared, at most; of more, as many at equal distances."""


class Batches:
    """Images as a network takes them, on its device and in its precision, with or without labels.

    Args:
        source: A DataLoader or a list of batches, of any form that `stripe.adapter.batch_of` understands. It is gone
            through several times.
        model: The network.
        what: What the images are, for messages.

    Attributes:
        measure: What a network is scored by.
        metric: A function of the user's own to score by instead.
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
        self.metric: Metric | None = None
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
        for batch, labels, _ in self.with_items():
            yield batch, labels

    def with_items(self) -> Iterator[tuple[Batch, Tensor | None, Any]]:
        """Images, labels, and what the source gave them as."""
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
            yield batch.on(self.model), None if labels is None else labels.to(self.device), item
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

    def spread(self, count: int) -> "Batches":
        """Some of the images, at equal distances; all, where there are not more. They are held in memory."""
        sizes = [len(batch) for batch, _ in self]
        if sum(sizes) <= count:
            return self
        chosen = torch.linspace(0, sum(sizes) - 1, count, dtype=torch.float64).round().long()
        items, start = [], 0
        for batch, _, item in self.with_items():
            rows = chosen[(chosen >= start) & (chosen < start + len(batch))] - start
            if len(rows):
                items.append(_rows(item, rows, len(batch)))
            start += len(batch)
        some = Batches(items, self.model, self.what)
        some.measure, some.metric = self.measure, self.metric
        some.predicted = None if self.predicted is None else self.predicted[chosen]
        return some

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
        accuracy: Per cent of the images whose class gets the highest logit; of a metric its mean; NaN without both.
        loss: Mean cross-entropy; NaN without labels.
        logits: (N, classes), or other outputs as (N, numbers), on the CPU.
        hits: (N,), 1 for each image whose class gets the highest logit, else 0; of a metric its values; NaN without.
        measure: Whether an image's class is its label (``accuracy``), or the one that the network with attention
            predicts (``agreement``), where the labels are no classes of the network; ``outputs`` where neither is
            looked at; the name of a metric.
        widths: How many of the numbers belong to each output, where there are several.
    """

    accuracy: float
    loss: float
    logits: Tensor
    hits: Tensor
    measure: str = "accuracy"
    widths: tuple[int, ...] = ()

    @property
    def unit(self) -> float:
        """Points per hit; the values of a metric are in its own unit."""
        return 100.0 if self.measure in get_args(Measure) else 1.0

    def error(self, wanted: "Score") -> float:
        """How far the outputs are from others: the norm of the difference, relative to that of the others.

        Of several outputs it is the root of the mean square of theirs. NaN where outputs cannot be compared.
        """
        widths = list(self.widths or self.logits.shape[-1:])
        if not self.logits.numel():
            return math.nan
        pairs = zip(*(torch.split(each, widths, -1) for each in (self.logits, wanted.logits)), strict=True)
        changes = [_ratio(float((got - other).norm()), float(other.norm())) for got, other in pairs]
        return changes[0] if len(changes) == 1 else math.sqrt(math.fsum(c * c for c in changes) / len(changes))

    def uncertainty(self, wanted: "Score") -> float:
        """Standard error of the change of the accuracy, in points: how much other images as many would change it.

        Both networks saw the same images, so it is that of the mean of N differences dᵢ, of 1, 0 or −1 for the
        accuracy, std(d) / √N: only the images that one of them gets right count, most others cancel.
        """
        changes = self.hits - wanted.hits
        return self.unit * float(changes.std(correction=0)) / math.sqrt(len(changes))


def score(model: nn.Module, batches: Batches, call: Callable[[nn.Module, Batch], Any] = run) -> Score:
    """Score a network, in evaluation mode.

    Args:
        model: The network.
        batches: The images.
        call: What runs the network on a batch.

    Raises:
        StripeError: It does not run, or returns nothing that can be scored, or no finite numbers.
    """
    outputs, hits, losses, widths = [], [], [], set()
    with evaluating(model), torch.no_grad():
        for batch, labels, item in batches.with_items():
            with Undecided() as undecided:
                returned = call(model, batch)
            if batches.metric is not None:
                hits.append(_values(batches.metric, returned, item, len(batch)))
            whatever = batches.metric is not None or batches.measure == "outputs"
            found = None if whatever else _classes(returned, batch, labels, batches)
            if found is None:
                compared = undecided.of(returned, len(batch)) or returned
                parts = flat(compared, len(batch), optional=batches.metric is not None)
                widths.add(tuple(part.shape[1] for part in parts))
                outputs.append(torch.cat(parts, 1) if parts else torch.zeros(len(batch), 0))
                continue
            if labels is not None and batches.measure == "accuracy":
                labels = check_labels(labels, found, batches.what)
                hits.append((found.argmax(1) == labels).double().cpu())
                losses.append(float(F.cross_entropy(found, labels, reduction="sum")))
            outputs.append(found.cpu())
    if len(widths) > 1 and batches.metric is not None:  # such as boxes; the metric says what there is to say
        outputs, widths = [part[:, :0] for part in outputs], {()}
    if len({part.shape[1] for part in outputs}) > 1 or len(widths) > 1:
        raise StripeError(
            "the model gives another number of scores for another batch; only a classifier can be folded"
            if not widths
            else "the outputs have another shape for another batch; give images of one size"
        )
    every = torch.cat(outputs)
    if not every.isfinite().all():
        raise StripeError("the model's outputs are not all finite numbers; its weights may be damaged")
    sizes = widths.pop() if widths else ()
    if batches.metric is not None:
        values = torch.cat(hits)
        name = getattr(batches.metric, "__name__", type(batches.metric).__name__)
        return Score(float(values.mean()), math.nan, every, values, name, sizes)
    if batches.predicted is not None:
        agreed = (every.argmax(1) == batches.predicted).double()
        return Score(100 * float(agreed.mean()), math.nan, every, agreed, "agreement")
    if not losses:
        return Score(math.nan, math.nan, every, torch.full((len(every),), math.nan), batches.measure, sizes)
    right = torch.cat(hits)
    if len(right) < len(every):
        raise StripeError(f"some batches of the {batches.what} have labels and some have none")
    return Score(100 * float(right.mean()), math.fsum(losses) / len(every), every, right)


def flat(output: Any, count: int, *, optional: bool) -> list[Tensor]:
    """The floating-point tensors of any outputs, each as (N, numbers), float32 on the CPU.

    Args:
        output: What a network returned.
        count: N, the number of images.
        optional: Whether outputs that do not have so much per image are left out, or refused.

    Raises:
        StripeError: There is none, or one cannot be told apart by images.
    """
    found = []
    for tensor in (each for each in tensors_of(output) if each.is_floating_point()):
        if not tensor.ndim or len(tensor) != count:
            if optional:
                continue
            shape = "×".join(map(str, tensor.shape)) or "one number"
            raise StripeError(
                f"the model returns {shape} for {count} images, which cannot be compared image by image; give metric=, "
                "a function of the outputs and the batch that returns one number per image"
            )
        rows = tensor.detach().reshape(count, -1).float()
        found.append(rows[:, :: -(-rows.shape[1] // MOST) or 1].cpu())
    if not found and not optional:
        raise StripeError("the model returns no floating-point numbers that could be compared; give metric=")
    return found


def _classes(output: Any, batch: Batch, labels: Tensor | None, batches: Batches) -> Tensor | None:
    """The scores of a classifier, (N, classes); None of another network, whose outputs are compared as they are."""
    try:
        return class_scores(output, len(batch)).float()
    except StripeError:
        if labels is not None or batches.measure == "agreement":
            raise
        return None


def _values(metric: Metric, output: Any, item: Any, count: int) -> Tensor:
    """What a metric says of each image, (N,) float64 on the CPU."""
    try:
        values = torch.as_tensor(metric(output, item)).detach().double().cpu()
    except Exception as error:  # the function is the user's: anything may come out of it
        raise StripeError(f"the metric fails: {type(error).__name__}: {error}") from error
    if values.shape != (count,):
        shape = "×".join(map(str, values.shape)) or "one number"
        raise StripeError(f"the metric returns {shape} for {count} images; one number per image is wanted")
    if not values.isfinite().all():
        raise StripeError("the metric returns a number that is not finite")
    return values


def _ratio(change: float, size: float) -> float:
    return change / size if size else math.inf if change else 0.0


def _rows(item: Any, rows: Tensor, count: int) -> Any:
    """Some images of a batch of any form, with all that belongs to them."""
    if isinstance(item, Tensor):
        return item[rows.to(item.device)] if item.ndim and len(item) == count else item
    if isinstance(item, np.ndarray):
        return item[rows.numpy()] if item.ndim and len(item) == count else item
    if isinstance(item, Mapping):
        return {key: _rows(value, rows, count) for key, value in item.items()}
    if not isinstance(item, tuple | list):
        return item
    if len(item) == count and not any(isinstance(part, Tensor | np.ndarray) and part.ndim > 3 for part in item):
        return [item[int(row)] for row in rows]
    parts = [_rows(part, rows, count) for part in item]
    return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)


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
