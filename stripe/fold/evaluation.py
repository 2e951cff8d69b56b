"""How well a network does on a sample of images: its accuracy, or how far its outputs are from those of another."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stripe.adapter import Batch, class_scores, isolated, run, tensors_of
from stripe.errors import StripeError
from stripe.fold.proposals import Undecided
from stripe.fold.sample import Measure, Metric, Sample
from stripe.modes import evaluating
from stripe.tasks import Task

__all__ = ["Evaluation", "check_labels", "evaluate"]

MOST = 2**15
"""Numbers per image and output that are compared, at most; of more, as many at equal distances."""

GROUPS = 20
"""Groups of images that are left out, one after the other, for the standard error of what is no mean over images."""


class Evaluation(NamedTuple):
    """How well a network does.

    Attributes:
        accuracy: Per cent of the images whose class gets the highest logit; of a metric its mean; of a task with
            annotations its measure, such as the average precision in per cent; NaN without all of these.
        loss: Mean cross-entropy, or loss of the task; NaN without labels.
        logits: (N, classes), or other outputs as (N, numbers), on the CPU.
        hits: (N,), 1 for each image whose class gets the highest logit, else 0; of a metric its values; NaN without.
        measure: Whether an image's class is its label (``accuracy``), or the one that the network with attention
            predicts (``agreement``), where the labels are no classes of the network; ``outputs`` where neither is
            looked at; the name of a metric, or of a task's measure.
        widths: How many of the numbers belong to each output, where there are several.
        without: (G,), of a task's measure what it is without each of G groups of images.
    """

    accuracy: float
    loss: float
    logits: Tensor
    hits: Tensor
    measure: str = "accuracy"
    widths: tuple[int, ...] = ()
    without: Tensor | None = None

    @property
    def unit(self) -> float:
        """Points per hit; the values of a metric are in its own unit."""
        return 100.0 if self.measure in get_args(Measure) else 1.0

    def error(self, wanted: "Evaluation") -> float:
        """How far the outputs are from others: the norm of the difference, relative to that of the others.

        Of several outputs it is the root of the mean square of theirs. NaN where outputs cannot be compared.
        """
        widths = list(self.widths or self.logits.shape[-1:])
        if not self.logits.numel():
            return math.nan
        pairs = zip(*(torch.split(each, widths, -1) for each in (self.logits, wanted.logits)), strict=True)
        changes = [_ratio(float((got - other).norm()), float(other.norm())) for got, other in pairs]
        return changes[0] if len(changes) == 1 else math.sqrt(math.fsum(c * c for c in changes) / len(changes))

    def uncertainty(self, wanted: "Evaluation") -> float:
        """Standard error of the change of the accuracy, in points: how much other images as many would change it.

        Both networks saw the same images, so it is that of the mean of N differences dᵢ, of 1, 0 or −1 for the
        accuracy, std(d) / √N: only the images that one of them gets right count, most others cancel. What is no mean
        over images changes by dᵢ without the i-th of G groups of images; then it is the jackknife's,
        √(G − 1) std(d) (Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", SIAM 1982, section 3).
        """
        if self.without is not None and wanted.without is not None:
            changes = self.without - wanted.without
            return math.sqrt(len(changes) - 1) * float(changes.std(correction=0))
        changes = self.hits - wanted.hits
        return self.unit * float(changes.std(correction=0)) / math.sqrt(len(changes))


def evaluate(
    model: nn.Module, sample: Sample, around: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Evaluation:
    """Judge a network by a sample of images, in evaluation mode.

    Args:
        model: The network.
        sample: The images.
        around: Makes a context for each batch, in which the network runs.

    Raises:
        StripeError: It does not run, or returns nothing that can be judged, or no finite numbers.
    """
    if sample.task is not None:
        return _judged(model, sample, sample.task, around)
    outputs, hits, losses, widths = [], [], [], set()
    with evaluating(model), torch.no_grad():
        for batch, labels, item in sample.with_items():
            with Undecided() as undecided, around():
                returned = run(model, batch)
            if sample.metric is not None:
                hits.append(_values(sample.metric, returned, item, len(batch)))
            whatever = sample.metric is not None or sample.measure == "outputs"
            found = None if whatever else _classes(returned, batch, labels, sample)
            if found is None:
                compared = undecided.of(returned, len(batch)) or returned
                parts = flat(compared, len(batch), optional=sample.metric is not None)
                widths.add(tuple(part.shape[1] for part in parts))
                outputs.append(torch.cat(parts, 1) if parts else torch.zeros(len(batch), 0))
                continue
            if labels is not None and sample.measure == "accuracy":
                labels = check_labels(labels, found, sample.what)
                hits.append((found.argmax(1) == labels).double().cpu())
                losses.append(float(F.cross_entropy(found, labels, reduction="sum")))
            outputs.append(found.cpu())
    if len(widths) > 1 and sample.metric is not None:  # such as boxes; the metric says what there is to say
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
    if sample.metric is not None:
        values = torch.cat(hits)
        name = getattr(sample.metric, "__name__", type(sample.metric).__name__)
        return Evaluation(float(values.mean()), math.nan, every, values, name, sizes)
    if sample.predicted is not None:
        agreed = (every.argmax(1) == sample.predicted).double()
        return Evaluation(100 * float(agreed.mean()), math.nan, every, agreed, "agreement")
    if not losses:
        return Evaluation(math.nan, math.nan, every, torch.full((len(every),), math.nan), sample.measure, sizes)
    right = torch.cat(hits)
    if len(right) < len(every):
        raise StripeError(f"some batches of the {sample.what} have labels and some have none")
    return Evaluation(100 * float(right.mean()), math.fsum(losses) / len(every), every, right)


def _judged(
    model: nn.Module, sample: Sample, task: Task, around: Callable[[], AbstractContextManager[object]]
) -> Evaluation:
    """Judge a network by annotated images, as their task does."""
    judge = task.judge()
    assert judge is not None  # which fold has asked
    losses, count = [], 0
    with evaluating(model), torch.no_grad():
        for batch, _, item in sample.with_items():
            targets = sample.targets_of(item)
            with isolated(), around():
                output = task.forward(model, batch, targets)
            judge.update(output, targets)
            losses.append(len(batch) * float(sum(task.losses(output, targets).values())))
            count += len(batch)
    groups = [range(first, count, GROUPS) for first in range(min(GROUPS, count))]
    measure, *without = judge.without([(), *groups])
    loss = math.fsum(losses) / count
    if not math.isfinite(loss):
        raise StripeError("the model's losses are not all finite numbers; its weights may be damaged")
    nothing = torch.zeros(count, 0)
    hits = torch.full((count,), math.nan)
    return Evaluation(measure, loss, nothing, hits, task.scoring.best, (), torch.tensor(without, dtype=torch.float64))


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


def _classes(output: Any, batch: Batch, labels: Tensor | None, sample: Sample) -> Tensor | None:
    """The scores of a classifier, (N, classes); None of another network, whose outputs are compared as they are."""
    try:
        return class_scores(output, len(batch)).float()
    except StripeError:
        if labels is not None or sample.measure == "agreement":
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
