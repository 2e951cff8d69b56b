"""``stripe fold``: from a trained network with attention to one without."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from stripe.cli.interrupts import interruptible
from stripe.cli.options import (
    data_options,
    device_option,
    format_option,
    model_options,
    precision_option,
    weights_option,
    workers_option,
)
from stripe.cli.outputs import check_folded, check_output

__all__ = ["command"]


@click.command()
@click.option("--ckpt", "checkpoint", type=click.Path(path_type=Path), help="The trained network.")
@weights_option
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="….safetensors, or ….onnx."
)
@model_options
@data_options
@click.option(
    "--images",
    "num_images",
    type=click.IntRange(2),
    default=2048,
    show_default=True,
    help="To take the means over; at most as many to measure on.",
)
@click.option(
    "--effect-images",
    type=click.IntRange(2),
    default=256,
    show_default=True,
    help="How many of those that are measured on decide about single sites; the steps are measured on all.",
)
@click.option(
    "--metric",
    metavar="MODULE:FUNCTION",
    help="A function of yours in the place of the accuracy: from the outputs of the network and (images, labels) to "
    "one number per image, higher is better.",
)
@click.option("--sites", default="all", show_default=True, metavar="GLOB", help="Which sites to fold.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    help="Points of accuracy, AP or mIoU that may be lost; of --metric in its own unit.",
)
@click.option("--target-speed", type=click.FloatRange(min=1), help="Fold until it is so many times as fast.")
@click.option("--sequential", is_flag=True, help="Take the means site by site, those before it already folded.")
@click.option(
    "--win-back",
    type=click.Choice(["scale", "batchnorm", "bias"]),
    multiple=True,
    help="Afterwards fit constants by least squares, estimate batch statistics anew, correct the next layers' biases. "
    "May be repeated.",
)
@click.option("--finetune", "epochs", type=click.IntRange(0), default=0, help="Epochs of training afterwards.")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=0.01, show_default=True, help="Of these.")
@click.option("--images-per-epoch", type=click.IntRange(2), help="Others in each epoch. Default: all.")
@click.option("--free", is_flag=True, help="Train the constants as free vectors, not as ASR.")
@click.option(
    "--frontier",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write accuracy against speed for every number of sites: FILE.csv, and a picture, FILE.png.",
)
@click.option(
    "--export",
    "exports",
    type=click.Choice(["onnx", "torch"]),
    multiple=True,
    help="Write it for other runtimes, too: FILE.onnx, or FILE.pt2 (torch.export). May be repeated.",
)
@click.option("--batch-size", type=click.IntRange(2), help="Default: 128; of detectors and segmenters 8.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice of images.")
@precision_option
@device_option
@workers_option
@format_option
def command(
    checkpoint: Path | None,
    entry: str | None,
    output: Path,
    num_images: int,
    effect_images: int,
    metric: str | None,
    frontier: Path | None,
    exports: tuple[str, ...],
    epochs: int,
    lr: float,
    images_per_epoch: int | None,
    free: bool,
    batch_size: int | None,
    seed: int,
    precision: Any,
    device: str | None,
    workers: int | None,
    output_format: str,
    sites: str,
    budget: float | None,
    target_speed: float | None,
    sequential: bool,
    win_back: tuple[str, ...],
    **names: Any,
) -> None:
    """Make the attention of a trained network a constant, and fold that into the weights.

    \b
    stripe fold --ckpt run/best.safetensors -o folded.safetensors
    stripe fold --model timm:seresnet50 --pretrained --data folder:photos --budget 0.5 -o folded.safetensors
    stripe fold --model onnx:network.onnx --data folder:photos -o folded.onnx

    A site's constant is its mean over images of the training set; accuracy is measured on others of it, the tenth that
    `stripe train` holds out; on the test set where the checkpoint was trained on these, or may have been. Where the
    labels are no classes of the network, the agreement with the unfolded network is measured instead, in points of
    which --budget is then. A detector is judged by the average precision of its boxes and a segmenter by the mean
    intersection over union, where the images are annotated; standard errors are the jackknife's. No labels are needed:
    of another network that is no classifier, the relative change of its outputs is measured, whatever tensors they are,
    or what --metric says. Those sites are folded first that cost the least error (or AP, mIoU) for the time that they
    free; one that would exceed the budget keeps its attention. A step of --win-back that makes things worse is undone.

    Printed, a row a site: stripe index; std of the attention over the images; what folding it alone does, error (of
    the logits, relative) and accuracy change (points, ± its standard error); ms that its module takes a batch; where
    the constant went, backwards or forwards into which layers, left as one multiplication, or kept as attention. Then
    a row a step, for all sites together; what is not kept was undone.

    `stripe evaluate --ckpt folded.safetensors` measures on the test set; `stripe.load` gives the network.
    """
    import torch

    from stripe import asr, fold, plots
    from stripe import checkpoint as checkpoints
    from stripe.analysis import save_table
    from stripe.bench import describe_machine
    from stripe.cli.classes import Classes, NoClassifierError, compare_classes
    from stripe.cli.onnx import write_folded
    from stripe.cli.resolve import resolve
    from stripe.cli.tasks import batch_size_for, scoring_task
    from stripe.data import choose_images
    from stripe.devices import pick_device
    from stripe.errors import StripeError
    from stripe.fold.loaders import AugmentedLoader, NormalizedLoader
    from stripe.models.from_user import find
    from stripe.tasks import Task
    from stripe.training import Compute

    if checkpoint and output.exists() and output.resolve() == checkpoint.resolve():
        raise StripeError(f"{output} is the checkpoint itself; name another file")
    check_folded(output, names["model_spec"])
    if frontier and not frontier.suffix:
        frontier = frontier.with_suffix(".csv")
    if frontier and frontier.suffix not in (".csv", ".parquet", ".json"):
        raise StripeError(f"{frontier}: the table is written as .csv, .parquet or .json")
    for path in (frontier, frontier.with_suffix(".png")) if frontier else ():
        check_output(path)
    judged_by = (
        find(f"--metric {metric}", metric, "MODULE:FUNCTION", "a function of outputs and batch") if metric else None
    )
    read = checkpoints.translate(checkpoints.read(checkpoint, weights=entry)) if checkpoint else None
    if read and "folded" in read.meta:
        raise StripeError(f"{checkpoint} is folded already; fold the checkpoint that it was made from")
    if read and names["data_spec"] is None and "data" not in read.meta:
        raise StripeError(f"Name the data with --data: {checkpoint} does not say what it was trained on.")
    resolved = resolve(checkpoint=read, seed=seed, **names)
    of_file = resolved.attrs["model"].startswith("onnx:")
    if epochs:
        resolved.data.require_classes()
    if read:
        checkpoints.load_into(resolved.model, read)
    elif not names["pretrained"] and not of_file:
        click.echo("The weights are random, so there is no accuracy to keep: --ckpt or --pretrained.", err=True)
    compute = Compute(pick_device(device), torch.float32)
    model = compute.place(resolved.model)

    measure = "accuracy"
    task: Task | None = None
    if resolved.data.annotations and judged_by is None:
        try:
            task = scoring_task(resolved, read, compute, pretrained=names["pretrained"])
        except StripeError as error:
            click.echo(f"No task judges the network: {error}", err=True)
    try:
        classes = compare_classes(resolved, read, names)
    except NoClassifierError:
        classes, measure = Classes(None, reason="the network is no classifier"), "outputs"
    if classes.positions is None and epochs:
        raise StripeError(f"--finetune needs labels that are classes of the network: {classes.reason}.")
    if task is not None and task.judge() is not None:
        label = task.scoring.label(task.scoring.best)
        click.echo(f"The network is judged by {label} of the annotated images.", err=True)
    elif measure == "outputs" and judged_by is None:
        click.echo(
            "The network is no classifier, so the relative change of its outputs is measured; --metric measures what "
            "you say.",
            err=True,
        )
    elif classes.positions is None and judged_by is None:
        measure = "agreement"
        click.echo(
            f"The labels are no classes of the network: {classes.reason}. So not the accuracy is measured, but the "
            "agreement: the share of images whose predicted class is that of the unfolded network.",
            err=True,
        )
    positions = None if classes.same else classes.positions
    rest, held, split = _splits(read, resolved, checkpoint, task.needed(resolved.data) if task else resolved.data)
    batch_size = batch_size_for(resolved.attrs["model"], batch_size)
    asked = click.get_current_context().get_parameter_source("num_images")
    if asked is ParameterSource.COMMANDLINE and num_images > len(rest):
        click.echo(
            f"There are {len(rest):,} images to take the means over, not {num_images:,}: all are taken.", err=True
        )
    chosen, judged = (
        choose_images(split.labels, min(num_images, len(split)), seed).astype("int64") for split in (rest, held)
    )
    data = resolved.data
    calibration = NormalizedLoader(rest.loader(batch_size, indices=chosen, workers=workers), data, compute, positions)
    judges = NormalizedLoader(held.loader(batch_size, indices=judged, workers=workers), data, compute, positions)
    trained = AugmentedLoader(rest, batch_size, seed, data, compute, workers, images_per_epoch, positions)
    with interruptible("Nothing was written."):
        result = fold.fold(
            model,
            calibration,
            held_out=judges,
            sites=sites,
            sequential=sequential,
            budget=budget,
            target_speed=target_speed,
            frontier=frontier is not None,
            win_back=win_back,
            augmented=AugmentedLoader(
                rest, batch_size, seed, resolved.data, compute, workers, min(num_images, len(rest))
            ),
            finetuning=fold.Finetune(trained, epochs, lr, asr=not free, precision=precision) if epochs else None,
            measure=measure,  # type: ignore[arg-type]
            metric=judged_by,
            task=task,
            effect_images=effect_images,
        )
    meta = _meta(read, resolved, names, classes.names) | {
        "folded_from": checkpoint.name if checkpoint else "its own file" if of_file else "published weights"
    }
    if of_file:
        write_folded(result, resolved.attrs["model"], output, next(iter(calibration))[0], meta)
    else:
        result.save(output, meta)
    _print(result, output_format)
    before, after = (sum(parameter.numel() for parameter in net.parameters()) for net in (model, result.model))
    click.echo(
        f"{output}: {after:,} parameters, {before - after:,} fewer; × {result.speed:.2f} as fast here, in batches of "
        f"{batch_size}",
        err=True,
    )
    if frontier and result.frontier is not None:
        network = " + ".join(name for name in (meta["model"], meta.get("attention")) if name not in (None, "none"))
        number = min(len(judged), effect_images)
        about = {"model": network, "data": resolved.data.spec, "images": number, "split": split}
        result.frontier.attrs.update({**about, **describe_machine(compute.device)})
        save_table(result.frontier, frontier)
        try:
            picture = plots.save(plots.frontier(result.frontier), frontier.with_suffix(".png"))
            click.echo(f"{frontier}, {picture}: accuracy against speed", err=True)
        except plots.NothingToDrawError:
            click.echo(f"{frontier}: error of the outputs against speed; there is no accuracy to draw", err=True)
    for kind in exports:
        path = output.with_suffix(asr.EXPORTS[kind])
        sample = next(iter(calibration))[0][:4]
        difference = asr.export(result.model, sample, path, kind=kind, meta=meta)
        click.echo(
            f"{path}: outputs differ by {difference.relative:.1e} (relative) from the folded network's", err=True
        )


def _splits(read: Any, resolved: Any, checkpoint: Path | None, data: Any) -> tuple[Any, Any, str]:
    """Images to take the means over, images to measure on, and what the latter are.

    Those that `stripe train` holds out, where it did, or where the weights are of other data. A run that was selected
    by the test set (--select test) held nothing out, so that of all images only those of the test set were not trained
    on; and nobody knows what somebody else's checkpoint was trained on, but if anything was left out, the test set was.
    """
    from stripe.training.holdout import hold_out

    if read is not None:
        about, told = (
            {key: value for key, value in meta.items() if key.startswith("data_") and key != "data_image_size"}
            for meta in (resolved.attrs, read.meta)
        )
        of_this = about == told if told else read.meta.get("data") in (None, data.spec)
        select = read.meta.get("select") or _select_of_scale(read.meta.get("scale"))
        if of_this and select != "val":
            known = "was trained on all training images" if select else "does not say which images it was trained on"
            click.echo(f"{checkpoint} {known}, so what is measured is measured on the test set.", err=True)
            return data.train, data.test, "test"
    return *hold_out(data.train), "held-out"


def _select_of_scale(scale: Any) -> str | None:
    """What a run's best epoch was chosen by; checkpoints of before that was written down say it in words."""
    return None if not isinstance(scale, str) else "val" if " held out)" in scale else "test"


def _meta(read: Any, resolved: Any, names: dict[str, Any], class_names: tuple[str, ...]) -> dict[str, Any]:
    """What the network is built, and its images made, from again; ASR and noise are in its weights."""
    from stripe.cli.resolve import outputs_for
    from stripe.data import write_size
    from stripe.models import outputs_of

    told = {
        key: resolved.attrs[key]
        for key in ("model", "attention", "args", "data", "mean", "std", "model_sha256")
        if key in resolved.attrs
    }
    if resolved.data.image_size is not None:  # else each image has its own
        told["image_size"] = write_size(resolved.data.image_size)
    if read and names["model_spec"] in (None, read.spec.model):
        return {key: value for key, value in read.meta.items() if key not in ("asr", "noise", "provenance")} | told
    ready = names["pretrained"] or "model_sha256" in resolved.attrs
    built = None if ready else outputs_of(resolved.model) or outputs_for(told["model"], resolved.data)
    classes = names["num_classes"] or built
    return {**told, "num_classes": classes, **({"classes": list(class_names)} if class_names else {})}


def _print(result: Any, output_format: str) -> None:
    """Both tables; as one JSON object for programs."""
    import json

    from stripe.cli.tables import print_records

    # Of a network that is no classifier there are no such numbers; of one that a task judges, no error.
    lacking = [name for name in ("error",) if result.steps[name].isna().all()]
    tables = {
        name: table.drop(columns=["outputs", "outputs_change", *lacking], errors="ignore")
        for name, table in (("sites", result.sites), ("steps", result.steps))
    }
    if output_format == "json":
        click.echo(json.dumps({name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}))
        return
    if output_format == "csv":
        print_records(tables["sites"].to_dict("records"), output_format)
        return
    sites = tables["sites"]
    sites = sites.assign(into=sites["into"].where(sites["into"] != "", sites["reason"]))
    tables["sites"] = sites.drop(columns=["kind", "loss_change", "reason"])  # what a terminal is wide enough for
    agreement = " (agreement with the unfolded network)" if "agreement" in result.steps else ""
    for name, table in tables.items():
        shown = table.rename(columns={"milliseconds": "ms", "uncertainty": "±"})
        print_records(shown.to_dict("records"), output_format, title=name + agreement)
