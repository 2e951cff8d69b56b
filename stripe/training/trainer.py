"""Training of a network that is said by name: settings and data in, a run directory out."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stripe.asr import cached
from stripe.capture import CaptureSession, Control
from stripe.data import Data, Split, choose_images, in_pixels, normalization_of, parse_normalization
from stripe.data.crops import mix
from stripe.errors import StripeError
from stripe.models import input_channels, normalizes_itself
from stripe.models.composed import parse
from stripe.names import counted
from stripe.provenance import provenance
from stripe.tasks import Classification, Task, named
from stripe.training import holdout, network
from stripe.training.backbone import load_backbone
from stripe.training.compute import Compute
from stripe.training.config import RunConfig
from stripe.training.loop import fit
from stripe.training.metrics import EpochMetrics
from stripe.training.recipe import Recipe
from stripe.training.run import Run
from stripe.training.world import World, join

__all__ = ["train"]

logger = logging.getLogger(__name__)


def train(
    out: str | Path,
    data: Data,
    config: RunConfig | None = None,
    *,
    save_every: int = 1,
    compiled: bool = False,
    device: str | None = None,
    workers: int | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    task: Task | str | None = None,
    **settings: Any,
) -> Run:
    """Train a network, or go on with a training that was interrupted.

    The same call goes on with the run in ``out``; a finished one is returned as it is. Called in each of several
    processes that ``torchrun`` started, it trains one network in all of them together.

    Args:
        out: The run directory, see [Run][stripe.training.Run].
        data: What to train on, from ``stripe.data.load``; what ``config`` says of the data is not looked at.
        config: What is trained, and how; default ResNet29 without attention, by the paper's recipe.
        save_every: Epochs between two checkpoints. The last epoch has one in any case; 0: it alone.
        compiled: Whether to use ``torch.compile``.
        device: Where to compute; default a GPU where there is one.
        workers: Processes that decode images that are not held in memory.
        on_epoch: Called after each epoch.
        task: What the network is trained for, as a task or as the name of a registered one; default what ``config``
            says, mostly the classification of the data. A task of your own is recorded in the run by its name and its
            measures; give the same again to go on.
        **settings: Fields of [RunConfig][stripe.training.RunConfig], instead of those of ``config``.

    Returns:
        The run, finished.

    Raises:
        StripeError: A name is unknown, ``out`` holds something else, the model has no attention to capture, or the
            training diverged.

    Example:
        >>> data = load("shapes")                                                           # doctest: +SKIP
        >>> run = train("runs/se29", data, attention="se", recipe=RESNET.scaled(12), capture=100)   # doctest: +SKIP
        >>> run.metrics[["epoch", "test_accuracy"]]                                         # doctest: +SKIP
    """
    if isinstance(task, str):
        settings["task"] = task
    config = replace(config or RunConfig(), data=data.spec, **settings)
    recipe, seed = config.recipe, config.seed
    if recipe is None:
        raise StripeError("recipe is None; a training needs one.")
    spec = config.spec
    composed = parse(config.model)
    if config.capture and spec.attention == "none" and ":" not in (composed.backbone if composed else config.model):
        if spec.asr:
            raise StripeError(
                f"ASR is a constant already, so in {config.model} there is no attention to capture: give mode='both', "
                "or capture=0."
            )
        raise StripeError(f"{config.model} without attention has none to capture: give attention='se', or capture=0.")

    task = _task(task, data, config)
    if recipe.label_smoothing:
        task.smoothed(recipe.label_smoothing)  # raises where there are no labels to smooth
    outputs = config.num_classes or task.outputs(data) or len(data.classes)
    if not outputs:
        raise StripeError(
            f"num_classes is None, and {data.spec} has no classes: say how many outputs the network has, as "
            "num_classes=1, or in the method outputs of the task."
        )
    if config.backbone_ckpt and isinstance(task, Classification):
        raise StripeError(
            "backbone_ckpt= is for a detector or segmenter, whose backbone is a classifier without its head; "
            f"{config.model} is a classifier itself."
        )
    validation: Split | None = None
    if config.select == "val":
        kept, validation = holdout.hold_out(data.train)
        data = replace(data, train=kept)
    if config.images_per_epoch is not None:
        config = replace(config, images_per_epoch=min(config.images_per_epoch, len(data.train)))
    chosen = choose_images(data.test.labels, config.capture, seed) if config.capture else None
    scale = _scale(recipe, data, config.images_per_epoch, held_out=len(validation or ()))
    spec = replace(spec, num_classes=outputs, image_size=data.image_size)
    described = {
        **spec.to_meta(),
        "data": data.spec,
        **{f"data_{key}": value for key, value in data.attrs.items() if key != "spec"},
        "classes": list(data.classes),
        "seed": seed,
    }
    held_out = None if validation is None else {"images": len(validation), "seed": holdout.SEED}

    with ExitStack() as stack:
        world = stack.enter_context(join(device))
        compute = Compute.on(world.device, config.precision)
        _check(world, compiled, min(recipe.batch_size, config.images_per_epoch or len(data.train)))
        torch.manual_seed(mix(seed, 0))
        with world.in_turn():
            built = network.build(spec, pretrained=config.pretrained)
        if config.backbone_ckpt:
            begun = load_backbone(built, config.backbone_ckpt, spec)
        if normalizes_itself(built):
            data = data.normalized(parse_normalization("none"))
        if input_channels(built) == 1:
            data = data.normalized(data.normalization.of_channels(1))
        trained = compute.place(built)
        task.prepare(trained, data, compute)
        if validation is not None:
            validation = task.needed(replace(data, train=validation)).train
        data = task.needed(data)
        if (said := task.settings()) is not None:
            described["task"] = said
        settings = {**described, **config.training(), "held_out": held_out}
        if config.backbone_ckpt:
            settings["backbone_ckpt"] = begun
        normalization = {"mean": list(data.mean), "std": list(data.std)}
        described |= normalization
        if data.normalization != normalization_of(data.spec):
            settings |= normalization
        average = None
        if config.ema is not None:
            decay: Any = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
            average = AveragedModel(trained, multi_avg_fn=decay, use_buffers=True)
        run = Run(Path(out))
        if world.leads:
            session = {
                **provenance(),
                "device": str(compute.device),
                "dtype": str(compute.dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "processes": world.size,
                "compiled": compiled,
            }
            stack.enter_context(run.claim(settings, session, scale=scale))
            scale = run.scale
        if world.told(len(run.metrics) == recipe.epochs):
            logger.info("the run in %s is finished", run.path)
            return run
        recording = None
        # Epoch 0 is the control of the others and no epoch among them: what settles is what training moves.
        untrained = not len(run.metrics) and not config.pretrained
        if chosen is not None and world.leads:
            recording = stack.enter_context(
                CaptureSession(
                    trained if average is None else average.module,
                    data.test.loader(recipe.batch_size, indices=chosen, workers=workers),
                    run.capture_file,
                    epochs=range(1, recipe.epochs + 1),
                    preprocess=partial(compute.input, data),
                    paths=[data.test.paths[index] for index in chosen],
                    attrs={**described, "scale": scale, "weights": "in training", "split": "test"},
                    controls=[Control("init", 0, seed, f"before training, seed {seed}")] if untrained else [],
                )
            )
            if untrained:
                with cached():
                    recording.record_control("init", statistics=True)
        fit(
            trained,
            data,
            recipe,
            run,
            compute=compute,
            seed=seed,
            meta={**described, "scale": scale, "select": config.select},
            task=task,
            validation=validation,
            images_per_epoch=config.images_per_epoch,
            accumulate=config.accumulate,
            average=average,
            compiled=compiled,
            world=world,
            workers=workers,
            save_every=save_every,
            capture=recording,
            on_epoch=on_epoch,
        )
    return run


def _task(task: Task | str | None, data: Data, config: RunConfig) -> Task:
    """The task that is asked for, made for the data if it is asked for by its name."""
    if isinstance(task, Task):
        return task
    if task is not None and not isinstance(task, str):
        raise StripeError(f"task= is {task!r}; give a task, such as Regression(), or the name of a registered one.")
    return named(config.task_name, data, config.task_args)


def _check(world: World, compiled: bool, batch: int) -> None:
    """Refuse what several processes cannot do together."""
    if world.size > 1 and compiled:
        raise StripeError("torch.compile is for one process here; leave compiled= away, or torchrun.")
    if batch < world.size:
        raise StripeError(f"{world.size} processes cannot share a batch of {batch} images; each needs one at least.")


def _scale(recipe: Recipe, data: Data, images_per_epoch: int | None, held_out: int) -> str:
    """At what scale a run was made, to be said beside every result; beside that of its recipe where it is smaller."""
    total, full = len(data.train), recipe.full_epochs or recipe.epochs
    images = images_per_epoch or total
    some = f"{images:,} of {total:,}" if images < total else f"all {total:,}"
    out = f" ({held_out:,} held out)" if held_out else ""
    text = f"{counted(recipe.epochs, 'epoch')} of {some} training images{out} at {in_pixels(data.image_size)}"
    if recipe.epochs < full or images < total:
        text += f" (its recipe: {counted(full, 'epoch')} of all images)"
    return text
