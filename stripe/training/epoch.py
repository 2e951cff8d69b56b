"""One epoch of training, and one pass of evaluation.

A number that is read from a GPU makes the computer wait until everything before it is computed. So losses and hits stay
on the device and are read together, every so many steps.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, overload

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from stripe.adapter import Batch, batch_of, isolated
from stripe.asr import cached
from stripe.data import Data
from stripe.errors import StripeError
from stripe.tasks import Classification, Meter, Score, Scored, Task, count_of, select
from stripe.training.compute import Compute
from stripe.training.world import World

__all__ = ["Moves", "Score", "diverged", "evaluate", "total_of", "train_epoch"]

# Steps between two looks at the loss: rare enough to cost nothing, often enough to stop a diverged run early.
LOOK_EVERY = 20


class Moves(Protocol):
    """An optimiser, or several behind one interface, see ``stripe.training.optimizers.Optimizers``."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of parameters, as those of a torch optimiser."""
        ...

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        ...

    def step(self) -> Any:
        """Move the parameters."""
        ...


@dataclass
class _Tally:
    """Sums of the task over the steps so far and over all processes."""

    world: World
    task: Task
    losses: list[float] = field(default_factory=list)  # a step's sum over its images
    sums: Tensor | None = None
    images: int = 0
    waiting: list[Tensor] = field(default_factory=list)

    def add(self, images: int, rows: list[Tensor]) -> None:
        """Note a step without waiting for it: how many images all processes saw, and the sums of this one's parts."""
        self.waiting.append(torch.stack(rows).sum(0))
        self.images += images

    def read(self) -> Scored:
        """The score so far; waits for the device. NaN where a loss was."""
        if self.waiting:
            rows = self.world.total(torch.stack(self.waiting).cpu().double())
            self.losses += rows[:, 0].tolist()
            sums = rows[:, 1:].sum(0)
            self.sums = sums if self.sums is None else self.sums + sums
            self.waiting.clear()
        sums = torch.zeros(0) if self.sums is None else self.sums
        return _score(self.task, math.fsum(self.losses) / self.images, sums.tolist(), self.images)


@isolated()
def train_epoch(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    optimizer: Moves,
    data: Data,
    compute: Compute,
    *,
    epoch: int,
    task: Task | None = None,
    world: World | None = None,
    accumulate: int = 1,
    after_step: Callable[[], None] | None = None,
    advance: Callable[[Any], None] | None = None,
) -> Any:
    """One pass over the training images: a step of the optimiser for each batch, on the losses of the task.

    Args:
        model: Placed by ``compute``; left in training mode. In a world of several processes, what
            ``World.parallel`` gave.
        batches: uint8 images (N, 3, H, W) and labels int64 (N,), or whatever the task collates, already on the device.
            Where several processes train together, the same labels in each, and of the images those alone of its
            ``World.parts``, in that order.
        optimizer: Its learning rate is set.
        data: Knows how the images are normalised.
        compute: Device and precision.
        epoch: Which epoch, for the error message.
        task: What is minimised and counted; default the classification of the data.
        world: The processes that train together.
        accumulate: In how many parts, one after the other, a batch is computed. The gradient is that of the whole
            batch, but for batch normalisation, whose statistics are those of a part.
        after_step: Called after each step of the optimiser.
        advance: Called after each step, for a progress bar; with the score so far where that is known.

    Returns:
        The task's score as it was during the epoch, in training mode, on the augmented images; of classification a
        ``Score``.

    Raises:
        StripeError: The loss is no longer a finite number.
    """
    world = world or World(compute.device)
    task = task or Classification(len(data.classes))
    model.train()
    tally, meter = _Tally(world, task), task.meter(training=True)

    def look() -> Scored:
        score = tally.read()
        if not math.isfinite(score.loss):
            step, loss = next((s, x) for s, x in enumerate(tally.losses, 1) if not math.isfinite(x))
            rate = optimizer.param_groups[0]["lr"]
            raise diverged(f"The loss became {loss} at step {step} of epoch {epoch} (learning rate {rate:.3g})")
        return score

    for step, (images, labels) in enumerate(batches, 1):
        count = count_of(labels)
        parts = world.parts(count, accumulate)
        if not parts:  # the last batch; a process without an image would have no batch statistics
            continue
        optimizer.zero_grad(set_to_none=True)
        rows, start = [], 0
        for number, part in enumerate(parts, 1):
            own = slice(start, start := start + part.stop - part.start)
            with world.step(model, last=number == len(parts)), torch.enable_grad():
                with cached():
                    output, targets = _forward(model, images[own], select(labels, part), data, compute, task)
                loss, named = _losses(task, output, targets)
                # The mean over the whole batch: gradients are added over the parts, averaged over the processes.
                own_images = part.stop - part.start
                (loss * (own_images * world.size / count)).backward()
            rows.append(_row(loss, named, own_images, task.sums(output, targets, training=True)))
            if meter:
                meter.update(output, targets)
        optimizer.step()
        if after_step:
            after_step()
        tally.add(count, rows)
        score = look() if step % LOOK_EVERY == 0 else None
        if advance:
            advance(score)
    return _measured(look(), meter)


@overload
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    data: Data,
    compute: Compute,
    *,
    task: None = None,
    world: World | None = None,
) -> Score: ...
@overload
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    data: Data,
    compute: Compute,
    *,
    task: Task,
    world: World | None = None,
) -> Any: ...
@isolated()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    data: Data,
    compute: Compute,
    *,
    task: Task | None = None,
    world: World | None = None,
) -> Any:
    """Score a network on images as they are.

    Args:
        model: Placed by ``compute``; left in evaluation mode.
        batches: uint8 images (N, 3, H, W) and labels int64 (N,), or whatever the task collates, on any device; of
            several processes, each has others.
        data: Knows how the images are normalised.
        compute: Device and precision.
        task: What is counted; default the classification of the data.
        world: The processes that do this together; the score is that of the images of all.

    Returns:
        The task's score; of classification a ``Score``.
    """
    world = world or World(compute.device)
    task = task or Classification(len(data.classes))
    model.eval()
    seen, rows, meter = 0, [], task.meter(training=False)
    with cached():
        for images, labels in batches:
            # Not around the loader: what that keeps for later would become inference tensors.
            with torch.no_grad():  # not inference_mode: what a model makes once and keeps must stay fit for training
                output, targets = _forward(model, images, labels, data, compute, task)
                (loss, named), count = _losses(task, output, targets), count_of(labels)
                rows.append(_row(loss, named, count, task.sums(output, targets, training=False)))
                if meter:
                    meter.update(output, targets)
            seen += count
    own = torch.stack(rows).cpu().double().sum(0) if rows else torch.zeros(0, dtype=torch.float64)
    if world.size > 1:  # one that had no image does not know how long a row is
        lengths = torch.zeros(world.size)
        lengths[world.rank] = len(own)
        longest = int(world.total(lengths).max())  # asked by each of them, with images or not
        own = own if rows else torch.zeros(longest, dtype=torch.float64)
    loss_sum, *sums, images_seen = world.total(torch.cat((own, torch.tensor([float(seen)])))).tolist()
    return _measured(_score(task, loss_sum / images_seen, sums, int(images_seen)), meter)


def diverged(what: str) -> StripeError:
    """The error to raise when a loss is no longer a finite number.

    Args:
        what: Which loss, where.
    """
    return StripeError(
        f"{what}: the training has diverged. What the epochs before left is kept; train anew, in another folder, with "
        "a lower learning rate (lr=) or larger batches."
    )


def total_of(losses: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of a task's losses, which is minimised."""
    first, *others = losses.values()
    return sum(others, first)


def _forward(model: nn.Module, images: Any, labels: Any, data: Data, compute: Compute, task: Task) -> tuple[Any, Any]:
    """The output for some images, and their targets; both on the device."""
    images, targets = task.collate(_moved(images, compute.device), _moved(labels, compute.device))
    if isinstance(images, Tensor):
        batch = batch_of(compute.input(data, images), model)
    else:
        inputs = compute.input(data, list(images))
        batch = Batch(inputs, inputs, torch.full((len(inputs),), -1))
    with compute.autocast():
        return task.forward(model, batch, targets), targets  # the batch is the network's own, which may change it


def _moved(value: Any, device: torch.device) -> Any:
    """A tensor, or the tensors of a tree, on the device."""
    if isinstance(value, Tensor):  # as nearly always, and then ten times faster than as a tree
        return value.to(device, non_blocking=True)
    return tree_map(lambda leaf: leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf, value)


def _losses(task: Task, output: Any, targets: Any) -> tuple[Tensor, list[Tensor]]:
    """Return the loss that is minimised, and those losses that the task records by name.

    Raises:
        StripeError: The task has no loss of such a name.
    """
    found = task.losses(output, targets)
    if missing := [name for name in task.scoring.losses if name not in found]:
        raise StripeError(
            f"the task {task.name} records the losses {', '.join(missing)} by name, but what it minimises is "
            f"{', '.join(found)}"
        )
    return total_of(found), [found[name] for name in task.scoring.losses]


def _row(loss: Tensor, named: Sequence[Tensor], images: int, sums: Tensor) -> Tensor:
    """Sums over the images of a batch, on the device: of the losses, which are their means, and of the task's sums."""
    losses = torch.stack([loss, *named]) if named else loss[None]
    losses = losses.detach() * images
    return torch.cat((losses, sums.detach().to(torch.promote_types(losses.dtype, torch.float32))))


def _score(task: Task, loss: float, sums: Sequence[float], images: int) -> Scored:
    """The task's score of sums over all images; those of the losses by name become means."""
    named = len(task.scoring.losses)
    return task.score(loss, [*(value / images for value in sums[:named]), *sums[named:]], images)


def _measured(score: Any, meter: Meter | None) -> Any:
    """A score with what a meter measured."""
    return score._replace(**meter.compute()) if meter else score
