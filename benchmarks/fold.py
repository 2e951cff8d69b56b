"""Time of inference with attention, with folded attention, and of the plain backbone.

    python benchmarks/fold.py [--models timm:seresnet50,…] [--image-size 224] [--batch-size 16] [--repeats 7]
        [--precisions float32] [--device cpu]

The script prints one JSON line for each network and precision. The three networks take turns; a ratio is the median
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
from collections.abc import Iterator

import torch
from machine import describe, interval, wait
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stripe import models
from stripe.asr import compare
from stripe.fold.batches import Batches
from stripe.fold.calibration import calibrate
from stripe.fold.sites import find_foldable, put_gates
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
    moments = calibrate(attention, sites, Batches([few], attention, "images"))
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
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    for name in args.models.split(","):
        for result in results(name, args):
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
