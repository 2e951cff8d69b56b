"""Time of average Grad-CAM, against bare inference and against pytorch-grad-cam, with the same loader.

    pip install '.[bench]' && python benchmarks/gradcam.py [--model torchvision:resnet50] [--layer layer4]

Prints one JSON line. The three take turns, so that a busy machine slows all of them down; the ratios are those of the
medians. The layer is given: finding it costs as much as a few images, once, which is nothing among the 500 images of
the paper's fig. 6. pytorch-grad-cam is used as its documentation says, its maps added up as they come.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytorch_grad_cam
import torch
from torch import Tensor, nn

from stripe.gradcam import gradcam
from stripe.models import build


class Images:
    """The same random images at each pass."""

    def __init__(self, num_images: int, image_size: int, batch_size: int) -> None:
        self.num_images, self.image_size, self.batch_size = num_images, image_size, batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, self.num_images, self.batch_size):
            size = min(self.batch_size, self.num_images - start)
            yield torch.rand(size, 3, self.image_size, self.image_size, generator=generator), torch.zeros(size).long()


def infer(model: nn.Module, images: Images) -> None:
    with torch.inference_mode():
        for batch, _ in images:
            model(batch)


def peer(model: nn.Module, layer: str, images: Images) -> np.ndarray:
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
    args = parser.parse_args()
    model = build(args.model).eval()
    images = Images(args.images, args.image_size, args.batch_size)
    sides = {
        "inference": lambda: infer(model, images),
        "stripe": lambda: gradcam(model, images, args.layer),
        "pytorch_grad_cam": lambda: peer(model, args.layer, images),
    }
    difference = np.abs(gradcam(model, images, args.layer)["mean"].values - peer(model, args.layer, images)).max()
    infer(model, images)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, work in sides.items():
            times[name].append(seconds(work))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        json.dumps(
            {
                "benchmark": "gradcam",
                "model": args.model,
                "images": args.images,
                "image_size": args.image_size,
                "batch_size": args.batch_size,
                **{f"{name}_s": value for name, value in medians.items()},
                "ratio_to_inference": medians["stripe"] / medians["inference"],
                "pytorch_grad_cam_to_ours": medians["pytorch_grad_cam"] / medians["stripe"],
                "largest_difference_of_the_averages": float(difference),
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "processor": platform.processor() or platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
