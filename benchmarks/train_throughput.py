"""Images per second of our training loop, compared with a usual loop.

    python benchmarks/train_throughput.py [--model resnet83] [--attention se] [--data shapes] [--images 1024]
        [--batch-size 128] [--repeats 3] [--device cpu] [--precision bfloat16]

The script prints one JSON line. Both loops train the same network from the same initial weights on the same images,
with the same augmentation (crop with padding 4, flip), loss and optimiser, and take turns. ``ratio`` is that of the
medians, ``ratio_interval`` the lowest and the highest of the rounds.

- ours: ``stripe.training`` with its defaults for the device (see ``stripe.training.Compute``);
- usual: the loop of most published CIFAR code, with a ``DataLoader`` with workers over images in memory, PIL transforms
  of torchvision, float32, and ``loss.item()`` and a count of hits at every step. In its favour, workers persist between
  the epochs and memory is pinned; cuDNN may search for its fastest kernels on both sides.

An epoch has the number of images of ``--images``; one epoch of each side is a warm-up.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from machine import describe, interval, wait
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from stripe.data import Data, load, train_batches
from stripe.models import build
from stripe.training import RESNET, Compute
from stripe.training.epoch import train_epoch


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images in memory that become PIL images one by one, as in torchvision's CIFAR10."""

    def __init__(self, data: Data, count: int) -> None:
        batches = list(data.train.loader(512, indices=np.arange(count)))
        self.images = torch.cat([images for images, _ in batches]).permute(0, 2, 3, 1).numpy()
        self.labels = torch.cat([labels for _, labels in batches]).tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(data.image_size, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def usual_loop(network: nn.Module, data: Data, args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    network.to(device).train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=RESNET.lr, momentum=RESNET.momentum, weight_decay=RESNET.weight_decay
    )
    loader = DataLoader(
        PilImages(data, args.images),
        args.batch_size,
        shuffle=True,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        pin_memory=device.type == "cuda",
    )

    def epoch() -> None:
        total_loss, hits = 0.0, 0
        for images, labels in loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            logits = network(images)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total_loss += loss.item() * len(labels)
            hits += (logits.argmax(1) == labels).sum().item()

    return epoch


def our_loop(network: nn.Module, data: Data, args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    compute = Compute.on(device, args.precision)
    network = compute.place(network)
    optimizer = RESNET.optimizer(network.parameters())
    number = 0

    def epoch() -> None:
        nonlocal number
        number += 1
        batches = train_batches(
            data.train, args.batch_size, seed=0, epoch=number, images_per_epoch=args.images, device=device
        )
        train_epoch(network, batches, optimizer, data, compute, epoch=number)

    return epoch


def seconds(epoch: Callable[[], None], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    epoch()
    wait(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet83")
    parser.add_argument("--attention", default="se")
    parser.add_argument("--data", default="shapes", help="as for `stripe train --data`")
    parser.add_argument("--images", type=int, default=1024, help="training images an epoch")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="of the usual loop")
    parser.add_argument("--repeats", type=int, default=3, help="epochs of each side")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="of our loop; default: the device's")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.backends.cudnn.benchmark = True
    data = load(args.data)
    args.images = min(args.images, len(data.train))
    loops = {}
    for name, make in (("ours", our_loop), ("usual", usual_loop)):
        torch.manual_seed(0)
        network = build(args.model, num_classes=len(data.classes), attention=args.attention)
        loops[name] = make(network, data, args, device)
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for epoch in loops.values():
        epoch()  # decode, start workers, choose kernels
    for _ in range(args.repeats):
        for name, epoch in loops.items():
            rates[name].append(args.images / seconds(epoch, device))
    median = {name: statistics.median(values) for name, values in rates.items()}
    print(
        json.dumps(
            {
                "benchmark": "train_throughput",
                "model": args.model,
                "attention": args.attention,
                "data": data.spec,
                "images": args.images,
                "batch_size": args.batch_size,
                "ours_images_per_second": round(median["ours"], 1),
                "usual_images_per_second": round(median["usual"], 1),
                "ratio": round(median["ours"] / median["usual"], 3),
                "ratio_interval": interval([o / u for o, u in zip(rates["ours"], rates["usual"], strict=True)]),
                "repeats": args.repeats,
                "target": "> 1 on a CPU, >= 5 on a GPU",
                "precision": str(Compute.on(device, args.precision).dtype).removeprefix("torch."),
                "workers": args.workers,
                **describe(device),
            }
        )
    )


if __name__ == "__main__":
    main()
