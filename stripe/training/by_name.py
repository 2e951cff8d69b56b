"""Training by name: model, data and recipe in, a run directory out."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stripe.capture import CaptureSession
from stripe.data import Data, choose_images, normalization_of, write_size
from stripe.data.augment import mix
from stripe.errors import StripeError
from stripe.models import input_channels
from stripe.provenance import provenance
from stripe.training import holdout, network
from stripe.training.compute import Compute, Precision
from stripe.training.fitting import fit
from stripe.training.recipe import RESNET, Recipe
from stripe.training.recipes import recipe_for
from stripe.training.run import EpochMetrics, Run
from stripe.training.world import World, join

__all__ = ["train"]

logger = logging.getLogger(__name__)


def train(
    out: str | Path,
    data: Data,
    *,
    model: str = "resnet29",
    mode: network.Mode | None = None,
    attention: str = "none",
    where: str | None = None,
    copies: int = 1,
    psi: float | str | None = None,
    psi_fixed: bool = False,
    asr_start: Literal["paper", "alive"] = "paper",
    noise: tuple[float, float] = (1.0, 0.0),
    noise_random: float = 0.0,
    num_classes: int | None = None,
    pretrained: bool = False,
    args: Mapping[str, Any] | None = None,
    recipe: Recipe = RESNET,
    select: Literal["val", "test"] = "val",
    accumulate: int = 1,
    ema: float | None = None,
    seed: int = 0,
    images_per_epoch: int | None = None,
    capture: int = 0,
    save_every: int = 1,
    compiled: bool = False,
    precision: Precision | None = None,
    device: str | None = None,
    workers: int | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
) -> Run:
    """Train a network, or go on with a training that was interrupted.

    The same call goes on with the run in ``out``; a finished one is returned as it is. Called in each of several
    processes that ``torchrun`` started, it trains one network in all of them together.

    Args:
        out: The run directory, see [Run][stripe.training.Run].
        data: What to train on, from `stripe.data.load`.
        model: Its name, as for `stripe.models.build`.
        mode: ``none``, ``attention`` (κ in the network), ``asr`` (ASR(κ) instead) or ``both``; default ``attention``
            where ``attention`` is given, else ``none``.
        attention: κ: se, eca, cbam, ie, srm, spa, dia.
        where: After which layers ASR goes, a pattern of names; default where the paper puts it.
        copies: δ, how many ASR at each place.
        psi: ψ's first value: a number, ``"C0.1"`` or ``"N0.3"``; default the paper's.
        psi_fixed: Whether ψ stays as it is.
        asr_start: ``alive``: ASR that could not learn is drawn again; ``paper``: it stays, and a warning says so.
        noise: N_a and N_b, which disturb every batch normalisation (table 9).
        noise_random: Standard deviation of N_a and N_b over the channels, drawn once.
        num_classes: Outputs of the classifier; default as many as the data has.
        pretrained: Begin from published weights (``torchvision:``, ``timm:``).
        args: Further arguments of the model's constructor.
        recipe: How to optimise; ``RESNET.scaled(12)`` for twelve epochs. Its batches are those of all processes.
        select: What the best epoch is chosen by: ``val``, a tenth of the training images, which are held out (the same
            for every seed); or ``test``, the test split itself, as the official logs do, and nothing is held out.
        accumulate: In how many parts, one after the other, a batch is computed, where it does not fit the memory.
        ema: Decay of an exponential moving average of the weights, updated after each step, which is scored, captured
            and saved instead of them; default none.
        seed: Decides the initial weights, order, augmentation and the captured images.
        images_per_epoch: Train on so many random images in each epoch; default all.
        capture: Record the attention for so many test images after each epoch, into ``capture.h5``; 0: none.
        save_every: Epochs between two checkpoints. The last epoch has one in any case; 0: it alone.
        compiled: Whether to use ``torch.compile``.
        precision: Of convolutions and matrix products; default bfloat16 on GPUs that have it, else float32.
        device: Where to compute; default a GPU where there is one.
        workers: Processes that decode images that are not held in memory.
        on_epoch: Called after each epoch.

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
    described = network.describe(
        model,
        mode=mode,
        attention=attention,
        where=where,
        copies=copies,
        psi=psi,
        psi_fixed=psi_fixed,
        asr_start=asr_start,
        noise=noise,
        noise_random=noise_random,
        num_classes=len(data.classes) if num_classes is None else num_classes,
        args=args,
    )
    if capture and described["attention"] == "none" and ":" not in model:
        if described["mode"] == "asr":
            raise StripeError(
                f"ASR is a constant already, so in {model} there is no attention to capture: give --mode both, or no "
                "--capture."
            )
        raise StripeError(f"{model} without attention has none to capture: give --attention se, or no --capture.")
    if accumulate < 1:
        raise StripeError(f"accumulate is {accumulate}; a batch is computed in at least one part.")
    if ema is not None and not 0 < ema < 1:
        raise StripeError(f"ema is {ema}; the decay of a moving average is between 0 and 1, as 0.999.")

    data.require_classes()
    validation = None
    if select == "val":
        kept, validation = holdout.hold_out(data.train)
        data = replace(data, train=kept)
    if images_per_epoch is not None:
        images_per_epoch = min(images_per_epoch, len(data.train))
    chosen = choose_images(data.test.labels, capture, seed) if capture else None
    scale = _scale(model, recipe, data, images_per_epoch, held_out=len(validation or ()))
    described |= {
        "image_size": write_size(data.image_size),
        "data": data.spec,
        **{f"data_{key}": value for key, value in data.attrs.items() if key != "spec"},
        "classes": list(data.classes),
        "seed": seed,
    }
    settings = {
        **described,
        "pretrained": pretrained,
        "recipe": asdict(recipe),
        "select": select,
        "held_out": None if validation is None else {"images": len(validation), "seed": holdout.SEED},
        "accumulate": accumulate,
        "ema": ema,
        "precision": precision,
        "images_per_epoch": images_per_epoch,
        "capture": capture,
    }

    with ExitStack() as stack:
        world = stack.enter_context(join(device))
        compute = Compute.on(world.device, precision)
        _check(world, compiled, min(recipe.batch_size, images_per_epoch or len(data.train)))
        torch.manual_seed(mix(seed, 0))
        with world.in_turn():
            built = network.build(described, pretrained=pretrained)
        if input_channels(built) == 1:
            data = data.normalized(data.normalization.of_channels(1))
        normalization = {"mean": list(data.mean), "std": list(data.std)}
        described |= normalization
        if data.normalization != normalization_of(data.spec):
            settings |= normalization
        trained = compute.place(built)
        average = None
        if ema is not None:
            decay: Any = get_ema_multi_avg_fn(ema)  # type: ignore[no-untyped-call]
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
        if world.told(len(run.metrics) == recipe.epochs):
            logger.info("the run in %s is finished", run.path)
            return run
        recording = None
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
                )
            )
        fit(
            trained,
            data,
            recipe,
            run,
            compute=compute,
            seed=seed,
            meta={**described, "scale": scale, "select": select},
            validation=validation,
            images_per_epoch=images_per_epoch,
            accumulate=accumulate,
            average=average,
            compiled=compiled,
            world=world,
            workers=workers,
            save_every=save_every,
            capture=recording,
            on_epoch=on_epoch,
        )
    return run


def _check(world: World, compiled: bool, batch: int) -> None:
    """What several processes cannot do."""
    if world.size > 1 and compiled:
        raise StripeError("torch.compile is for one process here; leave --compile away, or torchrun.")
    if batch < world.size:
        raise StripeError(f"{world.size} processes cannot share a batch of {batch} images; each needs one at least.")


def _scale(model: str, recipe: Recipe, data: Data, images_per_epoch: int | None, held_out: int) -> str:
    """At what scale a run was made, to be said beside every result."""
    total = len(data.train)
    images = images_per_epoch or total
    some = f"{images:,} of {total:,}" if images < total else f"all {total:,}"
    out = f" ({held_out:,} held out)" if held_out else ""
    text = f"{recipe.epochs} epochs of {some} training images{out} at {write_size(data.image_size)} px"
    paper = recipe_for(model, data.spec)
    if recipe.epochs < paper.epochs or images < total:
        text += f" (the paper: {paper.epochs} epochs of all images)"
    return text
