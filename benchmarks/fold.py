"""Time of inference with attention, folded, and of the plain backbone.

    python benchmarks/fold.py [--models timm:seresnet50,…] [--image-size 224] [--batch-size 16] [--repeats 7]

Prints one JSON line a network. The three take turns; a ratio is the median of those of the rounds. ``gain`` is the
time with attention divided by that of the folded network, ``plain_ratio`` that of the folded network divided by that of
the backbone, whose attention modules were taken out. ``relative_difference`` is that of the outputs between constants
multiplied and folded into the weights. Weights are random: folding costs the same time whatever they are.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import time
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stripe import models
from stripe.asr import compare
from stripe.fold.batches import Batches
from stripe.fold.calibrating import calibrate
from stripe.fold.gating import put_gates
from stripe.fold.sites import find_foldable
from stripe.fold.weights import fold_gates
from stripe.models.replacing import replace_module

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
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(name: str, size: int, batch_size: int, repeats: int, device: torch.device) -> dict[str, object]:
    attention = build(name)
    few = torch.randn(4, 3, size, size)
    places, reasons, sites = find_foldable(attention, few)
    moments = calibrate(attention, sites, Batches([few], attention, "images"))
    gated = copy.deepcopy(attention)
    put_gates(gated, places, {place.site.name: moments[place.site.name].mean for place in places})
    folded, plain = copy.deepcopy(gated), copy.deepcopy(gated)
    landings = Counter(landing.where for landing in fold_gates(folded, few).values())
    for place in places:
        replace_module(plain, place.module, nn.Identity())
    difference = compare(gated, folded, few, torch.float32)

    images = torch.randn(batch_size, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    networks = [net.to(device).to(memory_format=torch.channels_last) for net in (attention, folded, plain)]
    for network in networks:
        seconds(network, images)
    rounds = [[seconds(network, images) for network in networks] for _ in range(repeats)]
    rates = [batch_size / statistics.median(column) for column in zip(*rounds, strict=True)]
    return {
        "sites": {**landings, "not foldable": len(reasons)},
        "images_per_second": dict(
            zip(("attention", "folded", "plain"), (round(rate, 1) for rate in rates), strict=True)
        ),
        "gain": round(statistics.median(a / f for a, f, _ in rounds), 3),
        "plain_ratio": round(statistics.median(f / p for _, f, p in rounds), 3),
        "relative_difference": difference.relative,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--image-size", type=int, help="default: what the network is made for")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(args.device)
    for name in args.models.split(","):
        size = args.image_size or models.native_image_size(name.partition("+")[0]) or 224
        found = measure(name, size, args.batch_size, args.repeats, device)
        about = {"benchmark": "fold", "model": name, "image_size": size, "batch_size": args.batch_size}
        machine = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu"
        cores = {"device": machine, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
        print(json.dumps({**about, **found, **cores}), flush=True)


if __name__ == "__main__":
    main()
