"""The training loop: epochs, and what is written after each."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from stripe import checkpoint
from stripe.asr import cached
from stripe.capture import CaptureSession
from stripe.data import Data, Split
from stripe.data.crops import mix
from stripe.errors import StripeError
from stripe.progress import progress_bar
from stripe.tasks import Classification, Scored, Scoring, Task
from stripe.training.compute import Compute
from stripe.training.epoch import diverged, evaluate, train_epoch
from stripe.training.metrics import EpochMetrics, best_of, measured, row_of
from stripe.training.optimizers import Optimizers
from stripe.training.recipe import Recipe
from stripe.training.run import Run
from stripe.training.state import load_state, save_state
from stripe.training.world import World

__all__ = ["fit"]

logger = logging.getLogger(__name__)


def fit(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    run: Run,
    *,
    compute: Compute,
    seed: int,
    meta: Mapping[str, Any],
    task: Task | None = None,
    validation: Split | None = None,
    images_per_epoch: int | None = None,
    accumulate: int = 1,
    average: AveragedModel | None = None,
    compiled: bool = False,
    world: World | None = None,
    workers: int | None = None,
    save_every: int = 1,
    capture: CaptureSession | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
) -> list[EpochMetrics]:
    """Train a model from where the run stands to the recipe's last epoch.

    After each epoch the capture, the checkpoints, the metrics and the state are written in this order, each as a whole.
    So a process that is killed at any moment leaves a run that goes on after the last epoch of the state, and repeats
    what it had begun; the numbers are those of an uninterrupted run, as every epoch draws from (seed, epoch) alone
    (exactly on a CPU with the same number of threads).

    Args:
        model: Placed by ``compute``.
        data: Trained on its train split, scored on its test split.
        recipe: How. Its batches are those of all processes together.
        run: Where; claimed by the caller.
        compute: Device and precision.
        seed: Decides order, augmentation, and what layers like dropout draw.
        meta: Description of the model for its checkpoints, see ``stripe.checkpoint.save``.
        task: What the model is trained for; default the classification of the data. Another one is said by the
            settings of the run as ``"task": task.settings()``.
        validation: Images that the best epoch is chosen by; None: the test split.
        images_per_epoch: Training images an epoch, others in each; default all.
        accumulate: In how many parts a batch is computed, see ``stripe.training.epoch.train_epoch``.
        average: The moving average of the model. It is what is scored, captured and saved then.
        compiled: Whether to train the model through ``torch.compile``.
        world: The processes that train together; the first one alone writes, captures and reports.
        workers: Processes that decode.
        save_every: Epochs between two checkpoints. The last epoch has one in any case; 0: it alone. The best epoch's
            weights are kept besides.
        capture: Records the model's attention after each epoch.
        on_epoch: Called after each epoch.

    Returns:
        All epochs of the run, those before an interruption included.

    Raises:
        StripeError: The training diverged, an image cannot be read or a file not be written, the run is of another
            task, or the recipe smooths labels that the task does not have.
    """
    world = world or World(compute.device)
    scored: nn.Module = model if average is None else average.module
    task = task or Classification(len(data.classes))
    learned = task.smoothed(recipe.label_smoothing) if recipe.label_smoothing else task
    scoring, row = task.scoring, row_of(task.scoring)
    _check(world.told(run.scoring), task)
    optimizer = Optimizers(task.optimizers(model, recipe), recipe)
    history = load_state(run.state_file, model, optimizer, average, world, row)
    if capture and (lost := set(range(1, len(history) + 1)) - capture.completed):
        logger.warning("%s no longer holds the epochs %s; they stay missing", run.capture_file, sorted(lost))
    select = "test" if validation is None else "val"
    unseen = {"test": data.test} if validation is None else {"test": data.test, "validation": validation}
    for split in (data.train, *unseen.values()):
        _decode(split)

    def score(split: Split) -> Scored:
        """Score a split; each process takes its share of the images."""
        share = np.arange(world.rank, len(split), world.size)
        batches = split.loader(recipe.batch_size, indices=share, workers=workers)
        found: Scored = evaluate(scored, batches, data, compute, task=task, world=world)
        return found

    to_train: Any = torch.compile(model) if compiled else model
    trained = world.parallel(to_train)
    after_step = None if average is None else partial(average.update_parameters, model)
    with progress_bar() as progress:
        progress.disable |= not world.leads
        epochs = progress.add_task("epochs", total=recipe.epochs, completed=len(history), note="")
        steps = progress.add_task("", total=None, note="")
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            started = time.perf_counter()
            # The processes draw differently, or dropout would fall on the same places of different images.
            torch.manual_seed(mix(seed, epoch, *([world.rank] if world.rank else [])))
            batches = task.batches(
                data.train,
                recipe.batch_size,
                seed=seed,
                epoch=epoch,
                images_per_epoch=images_per_epoch,
                device=compute.device,
                workers=workers,
                share=partial(world.share, accumulate=accumulate),
            )
            optimizer.begin(epoch, len(batches))
            progress.reset(steps, description=f"epoch {epoch}", total=len(batches), note="")

            def advance(score: Scored | None) -> None:
                note = {"note": task.progress(score)} if score else {}
                progress.update(steps, advance=1, **note)  # type: ignore[arg-type]

            train = train_epoch(
                trained,
                batches,
                optimizer,
                data,
                compute,
                epoch=epoch,
                task=learned,
                world=world,
                accumulate=accumulate,
                after_step=after_step,
                advance=advance,
            )
            training, learning_rate = time.perf_counter() - started, optimizer.learning_rate
            progress.update(steps, description="test")
            scores = {name: score(split) for name, split in unseen.items()}
            for name, found in scores.items():
                if not math.isfinite(found.loss):
                    raise diverged(f"The {name} loss is {found.loss} after epoch {epoch}")
            if capture:
                progress.update(steps, description="capture")
                with cached():
                    capture.record(epoch, learning_rate=learning_rate)
            values: dict[str, Any] = {
                "epoch": epoch,
                "learning_rate": learning_rate,
                **measured(scoring, "train", train),
                **measured(scoring, "test", scores["test"]),
                "seconds": round(time.perf_counter() - started, 3),
                "images_per_second": round(batches.num_images / training, 1),
                **measured(scoring, "val", scores.get("validation")),
            }
            metrics = row(**values)
            history.append(metrics)
            if not world.leads:
                continue
            if len(history) == 1:
                _tell_unknown(metrics, select, scoring)
            description = {**meta, "epoch": epoch, "learning_rate": learning_rate}
            if epoch == recipe.epochs or (save_every and epoch % save_every == 0):
                checkpoint.save(run.checkpoint(epoch), scored, description)
            if best_of(history, select, scoring) is metrics:
                checkpoint.save(run.best_file, scored, description)
            run.write_metrics(history)
            task.after_epoch(scored, epoch, run.path)
            save_state(run.state_file, model, optimizer, history, average)
            progress.update(epochs, advance=1, note=_note(history, select, task))
            if on_epoch:
                on_epoch(metrics)
    return history


def _decode(split: Split) -> None:
    """Have a split that is held in memory decoded now: under a bar of its own, outside the first epoch's time."""
    next(iter(split.loader(1, workers=0)), None)


def _check(said: Scoring, task: Task) -> None:
    """Whether a run measures what the task does."""
    if said != task.scoring:
        raise StripeError(
            f"This run records {', '.join(said.measures)}, best by {said.best}; the task {task.name} has "
            f"{', '.join(task.scoring.measures)}, best by {task.scoring.best}. Give the settings of the run "
            '"task": task.settings().'
        )


def _tell_unknown(first: EpochMetrics, select: str, scoring: Scoring) -> None:
    """Warn that there is nothing to measure in some images, such as no object to find."""
    label = scoring.label(scoring.best)
    for split in dict.fromkeys(("test", select)):
        if math.isnan(getattr(first, f"{split}_{scoring.best}")):
            images = {"test": "test images", "val": "training images that are held out"}[split]
            by = ", and the epoch with their lowest loss counts as the best" if split == select else ""
            logger.warning("Nothing in the %s can be measured by %s: it is unknown%s", images, label, by)


def _note(history: list[EpochMetrics], select: str, task: Task) -> str:
    last, best = history[-1], best_of(history, select, task.scoring)
    column = f"test_{task.scoring.best}"
    return f"test {task.text(getattr(last, column))} (best {task.text(getattr(best, column))})"
