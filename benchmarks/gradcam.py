"""Time of average Grad-CAM, compared with bare inference and pytorch-grad-cam, with the same loader.

    pip install '.[bench]' && python benchmarks/gradcam.py [--model torchvision:resnet50] [--layer layer4]
        [--device cpu]

The script prints one JSON line. The three sides take turns, so that a busy machine slows all of them down; the ratios
are those of the medians, their intervals the lowest and the highest of the rounds. pytorch-grad-cam is left out if it
is not installed. The layer is given, as finding it takes as long as a few images, which is little compared with the 500
images of the paper's fig. 6. pytorch-grad-cam is used as in its documentation, and its maps are summed one by one.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from machine import describe, interval, wait
from random_images import RandomImages
from torch import nn

from stripe.gradcam import gradcam
from stripe.models import build

try:
    import pytorch_grad_cam
except ImportError:
    pytorch_grad_cam = None


def infer(model: nn.Module, images: RandomImages) -> None:
    with torch.inference_mode():
        for batch, _ in images:
            model(batch)
    wait(images.device)


def peer(model: nn.Module, layer: str, images: RandomImages) -> np.ndarray:
    total = np.zeros((images.image_size, images.image_size))
    with pytorch_grad_cam.GradCAM(model, [model.get_submodule(layer)]) as cam:
        for batch, _ in images:
            total += cam(batch, None).sum(0)
    return total / images.num_images


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="torchvision:resnet50")
    parser.add_argument("--layer", default="layer4")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    model = build(args.model).eval().to(device)
    images = RandomImages(args.images, args.image_size, args.batch_size, device)
    sides: dict[str, Callable[[], object]] = {
        "inference": lambda: infer(model, images),
        "stripe": lambda: gradcam(model, images, args.layer),
    }
    found = {}
    if pytorch_grad_cam is not None:
        sides["pytorch_grad_cam"] = lambda: peer(model, args.layer, images)
        difference = gradcam(model, images, args.layer)["mean"].values - peer(model, args.layer, images)
        found["largest_difference_of_the_averages"] = float(np.abs(difference).max())
    for work in sides.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, work in sides.items():
            times[name].append(seconds(work))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {"ratio_to_inference": ("stripe", "inference"), "pytorch_grad_cam_to_ours": ("pytorch_grad_cam", "stripe")}
    for name, (one, other) in ratios.items():
        if one in times:
            found[name] = medians[one] / medians[other]
            found[f"{name}_interval"] = interval([a / b for a, b in zip(times[one], times[other], strict=True)])
    print(
        json.dumps(
            {
                "benchmark": "gradcam",
                "model": args.model,
                "images": args.images,
                "image_size": args.image_size,
                "batch_size": args.batch_size,
                "repeats": args.repeats,
                **{f"{name}_s": value for name, value in medians.items()},
                **found,
                **describe(device),
            }
        )
    )


if __name__ == "__main__":
    main()
