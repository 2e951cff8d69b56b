"""Folding the attention of a trained network, from calibration to weights."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from stripe.adapter import Batch, check_weights, copy_model, isolated
from stripe.asr import fuse
from stripe.capture.unwrap import unwrap
from stripe.errors import StripeError
from stripe.fold.calibration import calibrate, calibrate_in_turn
from stripe.fold.evaluation import Evaluation, evaluate
from stripe.fold.finetuning import Finetune, finetune
from stripe.fold.recovery import correct_biases, reestimate, refit
from stripe.fold.result import FoldResult, Steps, describe_site
from stripe.fold.sample import Measure, Metric, Sample
from stripe.fold.selection import curve, effect_of_each, fast_enough, in_order, keeps, matching, within
from stripe.fold.sites import Foldable, find_foldable, gated, outline_places, put_gates
from stripe.fold.speed import relative_speed, relative_speeds, seconds_of
from stripe.fold.variants import Variants
from stripe.fold.weights import fold_gates
from stripe.models.surgery import ConstantGate, Outline
from stripe.names import counted
from stripe.tasks import Task

__all__ = ["WIN_BACK", "fold"]

WIN_BACK = ("scale", "batchnorm", "bias")
EFFECT_IMAGES = 256  # whose labels say the change of the accuracy to a point or so
TRIED = 4  # images on which a fold is tried before it counts


@isolated()
def fold(
    model: nn.Module,
    calibration: Iterable[Any],
    *,
    held_out: Iterable[Any] | None = None,
    sites: str | Sequence[str] = "all",
    sequential: bool = False,
    budget: float | None = None,
    target_speed: float | None = None,
    frontier: bool = False,
    win_back: str | Sequence[str] = (),
    augmented: Iterable[Any] | None = None,
    finetuning: Finetune | None = None,
    measure: Measure = "accuracy",
    metric: Metric | None = None,
    task: Task | None = None,
    effect_images: int | None = EFFECT_IMAGES,
) -> FoldResult:
    """Replace the attention of a trained network by constants, and fold these into the weights.

    A site's constant is its mean attention over the calibration images. The sites, and the layers that take the
    constants, are found by what the network does, not by the classes of its modules; each fold is tried in float64, on
    a few of the images, before it counts. Folding a constant is exact; that attention is none costs accuracy, which is
    measured. A block that computes a gate in its own forward becomes a `torch.fx.GraphModule`, see
    `stripe.models.surgery`.

    Args:
        model: A trained network, not changed; ASR in it is fused. Not one that was folded before, if the result is
            to be saved: the file says what was folded of the network that it names.
        calibration: Batches of images as the network takes them (N, 3, H, W), of (images, labels), or dictionaries of
            these; a DataLoader or a list, for it is gone through several times.
        held_out: Likewise, to measure on. None: the calibration images, of which the mean is taken, too.
        sites: Which sites: ``"all"``, a glob of their names, or several.
        sequential: Take the means from the first site to the last, each with those before it already constant.
        budget: Points of accuracy on the held-out images that may be lost by all sites together. One after the other is
            folded, in the order of error per time freed; those that would exceed it keep their attention. What
            `win_back` gains comes on top.
        target_speed: Fold as few sites, in that order, as make the network so many times as fast; with a budget, of
            those that it allows.
        frontier: Measure accuracy and speed for every number of sites, also where nothing is chosen by them.
        win_back: Of ``"scale"`` (least-squares constants instead of means), ``"batchnorm"`` (statistics estimated anew)
            and ``"bias"`` (of the next layers), which are tried in this order; no labels are needed. A step that makes
            the held-out loss larger (without labels: the error) is undone, and said so.
        augmented: Images as the network was trained on them, cropped and flipped, to estimate batch statistics over;
            those of images as they are differ, which may cost more than folding does. None: the calibration images.
        finetuning: Go on training after that.
        measure: ``"agreement"`` where the labels are no classes of the network, or there are none: in the place of the
            accuracy, for the budget as well, comes the share of images whose predicted class is the one with attention.
            ``"outputs"``: only the relative change of the outputs is looked at, which may be any tensors; so it is
            where there are no labels and the network is no classifier.
        metric: What takes the place of the accuracy, and its unit that of points: a function of the outputs of the
            network and of the item that the loader gave, that returns one number per image, higher is better.
        task: What judges a detector or segmenter by annotations in the place of the accuracy: by the average precision
            of boxes, or the mean intersection over union, in per cent. Its ``prepare`` has been called, and the
            held-out batches are of (images, targets), as it takes them. Sites are then folded in the order of what is
            lost by that measure per time freed, and standard errors are the jackknife's.
        effect_images: The number of held-out images on which the effect of each site alone, the budget and the frontier
            are measured, at equal distances among them; their standard errors say how much that leaves open. The steps
            are measured on all, and the budget is kept on all. None: all for everything.

    Returns:
        The folded network, a table of the sites, one of the steps, and the frontier where it was measured.

    Raises:
        StripeError: There is nothing to fold, a pattern fits no site, a budget or speed cannot be kept, or the network,
            images or labels are none that can be folded or measured with.

    Example:
        >>> import torch
        >>> from stripe.fold import fold
        >>> from stripe.models import build
        >>> result = fold(build("resnet11", attention="se"), [torch.randn(8, 3, 32, 32)])
        >>> result.sites["folded"].tolist()
        ['backwards', 'backwards', 'backwards']
    """
    wanted = {win_back} if isinstance(win_back, str) else set(win_back)
    if unknown := wanted - set(WIN_BACK):
        raise StripeError(f"{sorted(unknown)[0]!r} wins nothing back; there are {', '.join(WIN_BACK)}")
    if budget is not None and not budget >= 0:
        raise StripeError(f"a budget of {budget:g} points cannot be kept; give 0 or more")
    if effect_images is not None and effect_images < 2:
        raise StripeError(f"effect_images={effect_images} is too few; give 2 or more, or None for all")
    if task is not None and (metric is not None or task.judge() is None):
        why = "metric= takes its place" if metric is not None else f"{task.name} has no measure of some of the images"
        raise StripeError(f"task= cannot judge: {why}; give one of both, or leave task= away")
    if task is not None and not task.scoring.higher_is_better:
        raise StripeError(
            f"task= judges by {task.scoring.best}, of which less is better; give a task whose more is better"
        )
    if measure not in get_args(Measure):
        raise StripeError(f"{measure!r} cannot be measured; there are {', '.join(get_args(Measure))}")
    check_weights(model)
    original = fuse(unwrap(model)).eval()
    images = Sample(calibration, original, "calibration images")
    judges = images if held_out is None else Sample(held_out, original, "held-out images")
    judges.in_order()
    as_trained = images if augmented is None else Sample(augmented, original, "augmented images")
    tried = images.first().first(TRIED)
    places, reasons, found = find_foldable(original, tried)
    chosen = matching(places, sites, reasons)
    judges.measure, judges.metric, judges.task = measure, metric, task
    before = evaluate(original, judges)
    if task is not None and math.isnan(before.accuracy):
        raise StripeError(
            f"the {judges.what} show no object, so there is no {task.scoring.label(task.scoring.best)} to judge by; "
            "give more images"
        )
    if measure == "agreement" and metric is None and task is None:
        judges.predicted = before.logits.argmax(1)
        before = Evaluation(100.0, math.nan, before.logits, torch.ones(len(before.logits)), measure)

    # What is one number an image has no channels, and cannot be folded either.
    moments = calibrate(original, [site for site in found if site.shape], images)
    values = {place.site.name: moments[place.site.name].mean for place in places}
    opened, _ = _outlined(original, places, chosen)
    if sequential:
        values |= calibrate_in_turn(opened, chosen, images)
    variants = Variants(opened, chosen, values, judges if effect_images is None else judges.spread(effect_images))
    effects = effect_of_each(variants, chosen)
    seconds = seconds_of(opened, chosen, images.first())

    order, table = in_order(chosen, effects, seconds), None
    if budget is not None:
        chosen = within(variants, order, budget)
        while chosen and not keeps(evaluate(gated(opened, chosen, values), judges), before, budget):
            chosen.pop()  # more images say that it costs too much
        order = [*chosen, *(place for place in order if place not in chosen)]
    if frontier or target_speed is not None:
        table = _frontier(opened, order, values, variants, before, images.first())
    if table is not None and target_speed is not None:
        chosen = order[: fast_enough(table, target_speed, len(chosen))]
    chosen = [place for place in places if place in chosen]  # as the data flows

    folded, outlines = _outlined(original, places, chosen)
    put_gates(folded, chosen, values)
    steps = Steps(judges, before)
    steps.add("constants", folded)
    ways: dict[str, Callable[[nn.Module], str]] = {
        "scale": lambda changed: counted(refit(changed, opened, chosen, images), "site"),
        "batchnorm": lambda changed: counted(reestimate(changed, as_trained), "layer"),
        "bias": lambda changed: counted(correct_biases(changed, opened, chosen, images), "layer"),
    }
    for name in (name for name in WIN_BACK if name in wanted):
        folded = steps.attempt(name, ways[name], folded)
    if finetuning is not None and finetuning.epochs:
        with torch.enable_grad():
            finetune(folded, finetuning)
        steps.add(f"training for {counted(finetuning.epochs, 'epoch')}", folded)
    landings = fold_gates(folded, tried)
    for path in landings:  # what is left is a parameter like others
        folded.get_submodule(path).requires_grad_(True)
    steps.add("in the weights", folded)
    merged = [[path, until] for path, landing in landings.items() for until in landing.merged]
    by_name = {place.site.name: place for place in places}
    rows = [
        describe_site(
            site,
            moments.get(site.name),
            place := by_name.get(site.name),
            landings.get(place.module) if place else None,
            effects.get(site.name),
            seconds.get(site.name),
            reasons.get(site.name, ""),
            before.measure,
        )
        for site in found
    ]
    return FoldResult(
        folded,
        pd.DataFrame(rows),
        steps.table(),
        table,
        relative_speed(original, folded, images.first()),
        {
            "outlined": [list(outline) for outline in outlines],
            "gates": _gates(folded, chosen),
            **({"merged": merged} if merged else {}),
        },
        _built_from(unwrap(model)),
    )


def _built_from(model: nn.Module) -> dict[str, Any]:
    """What timm notes in its networks of how they are built."""
    about = getattr(model, "pretrained_cfg", None)
    name, classes = (about or {}).get("architecture"), getattr(model, "num_classes", None)
    return {"model": f"timm:{name}", "num_classes": classes} if isinstance(name, str) and classes else {}


def _outlined(
    model: nn.Module, places: Sequence[Foldable], chosen: Sequence[Foldable]
) -> tuple[nn.Module, list[Outline]]:
    """A copy in which the chosen gates are modules."""
    copied = copy_model(model)
    return copied, outline_places(copied, places, chosen)


def _frontier(
    original: nn.Module,
    order: Sequence[Foldable],
    values: Mapping[str, Tensor],
    variants: Variants,
    before: Evaluation,
    images: Batch,
) -> pd.DataFrame:
    """The curve of accuracy against speed over the first 0, 1, 2 … sites."""
    everything = gated(original, order, values)
    landings = fold_gates(everything, images.first(TRIED))
    speeds = relative_speeds(original, order, values, landings, images)
    return curve(variants, order, before, speeds)


def _gates(model: nn.Module, places: Sequence[Foldable]) -> dict[str, Any]:
    """What is in each place now, as `stripe.models.surgery.restructure` takes it."""
    modules = {place.module: model.get_submodule(place.module) for place in places}
    return {path: module.described() if isinstance(module, ConstantGate) else None for path, module in modules.items()}
