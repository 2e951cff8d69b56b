"""Time of inference with attention, with folded attention, and of the plain backbone.

    python benchmarks/fold.py [--models timm:seresnet50,…] [--image-size 224] [--batch-size 16] [--repeats 7]
        [--precisions float32] [--device cpu]
    python benchmarks/fold.py --models "" --passes timm:seresnet50 [--images 512]

The second form prints what it costs to measure the effect of each site alone, to keep a budget, and to draw the
frontier, in passes: floating-point operations of convolutions and matrix products, divided by those of one evaluation
of the network on all images. ``whole`` is one pass for each site and each of the three, where every network runs as a
whole. ``all_images`` runs from the first changed site on, with the same numbers up to rounding. ``some_images`` does so
with an eighth of the images, as ``stripe fold`` does with 256 of 2,048 by default. Each is printed for a budget that
all sites keep, and for one that none keeps.

The first form prints one JSON line for each network and precision. The three networks take turns; a ratio is the median
over the rounds, its interval the lowest and the highest. ``gain`` is the time with attention divided by that of the
folded network. ``plain_ratio`` is the time of the folded network divided by that of the backbone without attention
modules. ``relative_difference`` compares the outputs with constants as factors and with constants folded into the
weights, in full float32. Weights are random, as they do not affect the time.
"""

import argparse
import copy
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from machine import describe, interval, wait
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from stripe import models
from stripe.asr import compare
from stripe.fold.calibration import calibrate
from stripe.fold.evaluation import evaluate
from stripe.fold.sample import Sample
from stripe.fold.selection import curve, effect_of_each, in_order, within
from stripe.fold.sites import find_foldable, outline_places, put_gates
from stripe.fold.variants import Variants
from stripe.fold.weights import fold_gates
from stripe.models.surgery import replace_module

MODELS = (
    "timm:seresnet50,timm:ecaresnet26t,timm:efficientnet_b0,timm:mobilenetv3_small_100,timm:regnety_002,resnet83+se"
)


def build(name: str) -> nn.Module:
    spec, _, attention = name.partition("+")
    model = models.build(spec, attention=attention or "none").eval().requires_grad_(False)
    for norm in model.modules():
        if isinstance(norm, _BatchNorm) and norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)  # some begin at 0, which would hide every difference
    return model


def seconds(model: nn.Module, images: Tensor) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        model(images)
    wait(images.device)
    return time.perf_counter() - start


def fold(name: str, size: int, device: torch.device) -> tuple[dict[str, nn.Module], dict[str, object]]:
    """Make the network with attention, folded and plain; return them with facts about the folding."""
    attention = build(name).to(device)
    few = torch.randn(4, 3, size, size, device=device)
    places, reasons, sites = find_foldable(attention, few)
    moments = calibrate(attention, sites, Sample([few], attention, "images"))
    gated = copy.deepcopy(attention)
    put_gates(gated, places, {place.site.name: moments[place.site.name].mean for place in places})
    folded, plain = copy.deepcopy(gated), copy.deepcopy(gated)
    landings = Counter(landing.where for landing in fold_gates(folded, few).values())
    for place in places:
        replace_module(plain, place.module, nn.Identity())
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        difference = compare(gated, folded, few, torch.float32)
    about = {"sites": {**landings, "not foldable": len(reasons)}, "relative_difference": difference.relative}
    return {"attention": attention, "folded": folded, "plain": plain}, about


def measure(networks: dict[str, nn.Module], images: Tensor, repeats: int) -> dict[str, object]:
    for network in networks.values():
        network.to(images.dtype).to(memory_format=torch.channels_last)
        for _ in range(2):
            seconds(network, images)
    rounds = [[seconds(network, images) for network in networks.values()] for _ in range(repeats)]
    rates = [len(images) / statistics.median(column) for column in zip(*rounds, strict=True)]
    gains, plain_ratios = [a / f for a, f, _ in rounds], [f / p for _, f, p in rounds]
    return {
        "images_per_second": dict(zip(networks, (round(rate, 1) for rate in rates), strict=True)),
        "gain": round(statistics.median(gains), 3),
        "gain_interval": interval(gains),
        "plain_ratio": round(statistics.median(plain_ratios), 3),
        "plain_ratio_interval": interval(plain_ratios),
    }


def passes(name: str, count: int, device: torch.device) -> dict[str, object]:
    """What the choice of sites costs, with 32 pixels, for operations grow alike everywhere."""
    net = build(name).to(device)
    batches = [torch.randn(min(64, count - start), 3, 32, 32, device=device) for start in range(0, count, 64)]
    images = Sample(batches, net, "images")
    places, _, sites = find_foldable(net, images.first().first(4))
    outline_places(net, places, places)
    moments = calibrate(net, [site for site in sites if site.shape], images)
    values = {place.site.name: moments[place.site.name].mean for place in places}
    whole, one = counted(evaluate, net, images)
    images.measure, images.predicted = "agreement", whole.logits.argmax(1)
    found: dict[str, object] = {"whole": {"effects": len(places), "budget": len(places), "frontier": len(places)}}
    for key, some in (("all_images", images), ("some_images", images.spread(count // 8))):
        for budget, taken_are in ((100, "all_taken"), (-1, "none_taken")):
            variants, start = counted(Variants, net, places, values, some)
            effects, alone = counted(effect_of_each, variants, places)
            order = in_order(places, effects, dict.fromkeys(effects, 1.0))
            taken, within_budget = counted(within, variants, order, budget)
            rest = [*taken, *(place for place in order if place not in taken)]
            _, drawn = counted(curve, variants, rest, variants.original, [1.0] * (len(places) + 1))
            cost = {"effects": start + alone, "budget": within_budget, "frontier": drawn}
            cost["together"] = sum(cost.values())
            found[f"{key}, {taken_are}"] = {what: round(flops / one, 2) for what, flops in cost.items()}
    about = {"benchmark": "fold_passes", "model": name, "sites": len(places), "images": count}
    return {**about, **found, **describe(device)}


def counted(function: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """What a function returns, and the floating-point operations that it took."""
    with FlopCounterMode(display=False) as counter:
        result = function(*arguments)
    return result, counter.get_total_flops()


def results(name: str, args: argparse.Namespace) -> Iterator[dict[str, object]]:
    device = torch.device(args.device)
    size = args.image_size or models.native_image_size(name.partition("+")[0]) or 224
    networks, about = fold(name, size, device)
    for precision in args.precisions.split(","):
        images = torch.randn(args.batch_size, 3, size, size, device=device, dtype=getattr(torch, precision))
        found = measure(networks, images.contiguous(memory_format=torch.channels_last), args.repeats)
        setting = {"image_size": size, "batch_size": args.batch_size, "precision": precision, "repeats": args.repeats}
        yield {"benchmark": "fold", "model": name, **setting, **about, **found, **describe(device)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--image-size", type=int, help="default: what the network is made for")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--precisions", default="float32", help="float32, bfloat16 or both, by commas")
    parser.add_argument("--passes", default="", help="a network of which passes are counted")
    parser.add_argument("--images", type=int, default=512, help="on which it is scored then")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.passes:
        print(json.dumps(passes(args.passes, args.images, torch.device(args.device))), flush=True)
    for name in filter(None, args.models.split(",")):
        for result in results(name, args):
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
