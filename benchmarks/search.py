"""Time of a structure search, compared with training the same network without α, and with the plain network.

    python benchmarks/search.py [--model resnet18-cifar] [--attention sscbam] [--data shapes] [--images 512]
        [--batch-size 64] [--repeats 3] [--device cpu] [--precision bfloat16]

The script prints one JSON line. Three trainings take turns, an epoch of ``--images`` images each, in our own loop:

- search: the task ``search``, whose batches move α and the weights in turn;
- mixed: classification by the same network, with all five ways to put attention together, whose α stays as it is;
- plain: classification by the network without attention.

``ratio`` is search to mixed, that of the medians; ``ratio_interval`` the lowest and the highest of the rounds.
``search_to_plain`` and ``mixed_to_plain`` say what the five ways cost. One epoch of each is a warm-up.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from machine import describe, interval, wait

from stripe.data import Data, load
from stripe.models import build
from stripe.tasks import Classification, Task
from stripe.tasks.search import Search
from stripe.training import RESNET, Compute
from stripe.training.epoch import train_epoch
from stripe.training.optimizers import Optimizers


def trainer(args: argparse.Namespace, attention: str, task: Task, data: Data, compute: Compute) -> Callable[[], None]:
    """An epoch of a network that is built for it; α moves in a search alone."""
    torch.manual_seed(0)
    model = build(args.model, num_classes=len(data.classes), attention=attention, args=json.loads(args.model_args))
    model = compute.place(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = isinstance(task, Search) or not name.endswith(".alpha")
    optimizer = Optimizers(task.optimizers(model, RESNET), RESNET)
    number = 0

    def epoch() -> None:
        nonlocal number
        number += 1
        batches = task.batches(
            data.train,
            args.batch_size,
            seed=0,
            epoch=number,
            images_per_epoch=args.images,
            device=compute.device,
        )
        optimizer.begin(1, len(batches))
        train_epoch(model, batches, optimizer, data, compute, epoch=number, task=task)
        wait(compute.device)

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18-cifar")
    parser.add_argument("--model-args", default="{}", help="further arguments of the model, as JSON")
    parser.add_argument("--attention", default="sscbam", help="sscbam or ssmvam, also with ,k=3")
    parser.add_argument("--data", default="shapes", help="as for `stripe train --data`")
    parser.add_argument("--images", type=int, default=512, help="training images an epoch")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3, help="epochs of each side")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="default: the device's")
    args = parser.parse_args()
    compute = Compute.on(torch.device(args.device), args.precision)
    data = load(args.data)
    args.images = min(args.images, len(data.train))
    epochs = {
        "search": trainer(args, args.attention, Search(len(data.classes)), data, compute),
        "mixed": trainer(args, args.attention, Classification(len(data.classes)), data, compute),
        "plain": trainer(args, "none", Classification(len(data.classes)), data, compute),
    }
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for epoch in epochs.values():
        epoch()  # decode, choose kernels
    for _ in range(args.repeats):
        for name, epoch in epochs.items():
            start = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        json.dumps(
            {
                "benchmark": "search",
                "model": args.model,
                "attention": args.attention,
                "data": data.spec,
                "images": args.images,
                "batch_size": args.batch_size,
                **{f"{name}_seconds": round(value, 3) for name, value in median.items()},
                "ratio": round(median["search"] / median["mixed"], 3),
                "ratio_interval": interval(
                    [round(s / m, 3) for s, m in zip(seconds["search"], seconds["mixed"], strict=True)]
                ),
                "search_to_plain": round(median["search"] / median["plain"], 3),
                "mixed_to_plain": round(median["mixed"] / median["plain"], 3),
                "repeats": args.repeats,
                "target": "<= 1.25",
                "precision": str(compute.dtype).removeprefix("torch."),
                **describe(compute.device),
            }
        )
    )


if __name__ == "__main__":
    main()
