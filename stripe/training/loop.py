"""One epoch of training, and one pass of evaluation.

A number that is read from a GPU makes the computer wait until everything before it is computed. So losses and hits stay
on the device and are read together, every so many steps.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stripe.adapter import batch_of, call, class_scores, explained, isolated
from stripe.asr import cached
from stripe.data import Data
from stripe.errors import StripeError
from stripe.training.compute import Compute
from stripe.training.world import World

__all__ = ["Score", "diverged", "evaluate", "train_epoch"]

# Steps between two looks at the loss: rare enough to cost nothing, often enough to stop a diverged run early.
LOOK_EVERY = 20

Batches = Iterable[tuple[Tensor, Tensor]]


class Score(NamedTuple):
    """How well a network does.

    Attributes:
        loss: Mean cross-entropy over the images.
        accuracy: Per cent of the images whose class gets the highest logit.
        top5: Per cent of the images whose class is among the five with the highest logits; NaN in training.
    """

    loss: float
    accuracy: float
    top5: float = math.nan


@dataclass
class _Tally:
    """Losses and hits of the steps so far, over all processes."""

    world: World
    losses: list[float] = field(default_factory=list)  # a step's sum over its images
    hits: float = 0
    images: int = 0
    waiting: list[Tensor] = field(default_factory=list)

    def add(self, images: int, sums: list[Tensor]) -> None:
        """Note a step without waiting for it: how many images all processes saw, and the sums of this one's parts."""
        self.waiting.append(torch.stack(sums).sum(0))
        self.images += images

    def read(self) -> Score:
        """The score so far; waits for the device. NaN where a loss was."""
        if self.waiting:
            losses, hits = self.world.total(torch.stack(self.waiting).cpu().double()).unbind(1)
            self.losses += losses.tolist()
            self.hits += float(hits.sum())
            self.waiting.clear()
        return Score(math.fsum(self.losses) / self.images, 100 * self.hits / self.images)


@isolated()
def train_epoch(
    model: nn.Module,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    data: Data,
    compute: Compute,
    *,
    epoch: int,
    world: World | None = None,
    accumulate: int = 1,
    after_step: Callable[[], None] | None = None,
    advance: Callable[[Score | None], None] | None = None,
) -> Score:
    """One pass over the training images: a step of the optimiser for each batch, on its mean cross-entropy.

    Args:
        model: Placed by ``compute``; left in training mode. In a world of several processes, what
            `World.parallel` gave.
        batches: uint8 images (N, 3, H, W) and labels int64 (N,), already on the device. Where several processes train
            together, the same labels in each, and of the images those alone of its `World.parts`, in that order.
        optimizer: Its learning rate is set.
        data: Knows how the images are normalised.
        compute: Device and precision.
        epoch: Which epoch, for the error message.
        world: The processes that train together.
        accumulate: In how many parts, one after the other, a batch is computed. The gradient is that of the whole
            batch, but for batch normalisation, whose statistics are those of a part.
        after_step: Called after each step of the optimiser.
        advance: Called after each step, for a progress bar; with the score so far where that is known.

    Returns:
        Loss and accuracy as they were during the epoch, in training mode, on the augmented images.

    Raises:
        StripeError: The loss is no longer a finite number.
    """
    world = world or World(compute.device)
    model.train()
    tally = _Tally(world)

    def look() -> Score:
        score = tally.read()
        if not math.isfinite(score.loss):
            step, loss = next((s, x) for s, x in enumerate(tally.losses, 1) if not math.isfinite(x))
            rate = optimizer.param_groups[0]["lr"]
            raise diverged(f"The loss became {loss} at step {step} of epoch {epoch} (learning rate {rate:.3g})")
        return score

    for step, (images, labels) in enumerate(batches, 1):
        parts = world.parts(len(labels), accumulate)
        if not parts:  # the last batch; a process without an image would have no batch statistics
            continue
        own = torch.split(images, [part.stop - part.start for part in parts])
        optimizer.zero_grad(set_to_none=True)
        sums = []
        for number, (part, own_images) in enumerate(zip(parts, own, strict=True), 1):
            own_labels = labels[part]
            with world.step(model, last=number == len(parts)), torch.enable_grad():
                with cached():
                    logits = _logits(model, own_images, data, compute)
                loss = F.cross_entropy(logits, own_labels)
                # The mean over the whole batch: gradients are added over the parts, averaged over the processes.
                share = len(own_labels) * world.size / len(labels)
                (loss * share).backward()  # type: ignore[no-untyped-call]
            sums.append(_sums(loss, logits, own_labels))
        optimizer.step()
        if after_step:
            after_step()
        tally.add(len(labels), sums)
        score = look() if step % LOOK_EVERY == 0 else None
        if advance:
            advance(score)
    return look()


@isolated()
def evaluate(model: nn.Module, batches: Batches, data: Data, compute: Compute, *, world: World | None = None) -> Score:
    """Score a network on images as they are.

    Args:
        model: Placed by ``compute``; left in evaluation mode.
        batches: uint8 images (N, 3, H, W) and labels int64 (N,), on any device; of several processes, each has others.
        data: Knows how the images are normalised.
        compute: Device and precision.
        world: The processes that do this together; the score is that of the images of all.
    """
    world = world or World(compute.device)
    model.eval()
    seen, rows = 0, []
    with cached():
        for images, labels in batches:
            # Not around the loader: what that keeps for later would become inference tensors.
            with torch.no_grad():  # not inference_mode: what a model makes once and keeps must stay fit for training
                logits = _logits(model, images, data, compute)
                labels = labels.to(compute.device, non_blocking=True)
                five = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
                row = _sums(F.cross_entropy(logits, labels), logits, labels)
                rows.append(torch.cat((row, five.sum()[None].to(row.dtype))))
            seen += len(labels)
    own = torch.stack(rows).cpu().double().sum(0) if rows else torch.zeros(3, dtype=torch.float64)
    loss, hits, hits_of_five, images_seen = world.total(torch.cat((own, torch.tensor([float(seen)])))).tolist()
    return Score(loss / images_seen, 100 * hits / images_seen, 100 * hits_of_five / images_seen)


def diverged(what: str) -> StripeError:
    """The error to raise when a loss is no longer a finite number.

    Args:
        what: Which loss, where.
    """
    return StripeError(
        f"{what}: the training has diverged. What the epochs before left is kept; train anew, in another folder, with "
        "a lower --lr or larger batches."
    )


def _logits(model: nn.Module, images: Tensor, data: Data, compute: Compute) -> Tensor:
    """Logits (N, classes), float32; of a network that gives one, those of no and of yes."""
    with compute.autocast():
        batch = batch_of(compute.input(data, images), model)  # the network's own, which it may change
        with explained(model, batch):
            output = call(model, batch.inputs)
    logits = class_scores(output, len(batch))
    if logits.shape[1] < len(data.classes):
        raise StripeError(f"The model tells {logits.shape[1]} classes apart, but the data has {len(data.classes)}.")
    return logits.float()


def _sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Sums over a batch, (2,), on the device: of the cross-entropy, of which ``loss`` is the mean, and of the hits."""
    hits = (logits.detach().argmax(1) == labels).sum()
    return torch.stack((loss.detach() * len(labels), hits.to(loss.dtype)))
