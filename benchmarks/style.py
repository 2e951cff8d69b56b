"""What normalisation, ASR and the batch do to style transfer: losses on held-out images, and batch noise, measured.

    python benchmarks/style.py --out style.json --data folder:PHOTOS --perceptual-ckpt FILE [--style drawn:mosaic]
        [--style-size 96] [--style-weight 1e10] [--image-size 48] [--width 16] [--epochs 4] [--batches 1,4,16]
        [--images-per-epoch 600,600,600] [--seeds 3] [--kinds in,bn,asr,frozen,half] [--pictures style.npz]
        [--device cpu] [--precision bfloat16]

Five networks are trained for each size of a batch and each seed, on the same images in the same order: instance
normalisation (``in``), batch normalisation (``bn``), the same with ASR(SE) after each (``asr``), with its statistics
frozen after half of the epochs, which the paper has not (``frozen``), and with γ = .5 at the start, where the value of
an ASR begins, too (``half``). Images per epoch are given for each size of a batch. Adam at 1e-3 · √(batch / 4).

Content and style loss are those of test images, in evaluation mode, in float32, the same for all networks. The file
says the mean of each network, and over the seeds the mean with a 95 % interval (Student's t) and the paired differences
to ``bn`` likewise; ``each`` holds the losses of every image, for other intervals.

Batch noise is the variance of an image's output over random batches of the size of training in which it is normalised,
in training mode, divided by the variance of the outputs over pixels and images: 0 means that an image does not depend
on its companions. ``gap`` is the squared distance from the mean of these outputs to that in evaluation mode, by the
same variance. A batch of one image has no companions: its noise is 0, and the gap is all there is.

The file is written anew whenever a network is ready, and the same command goes on where it stopped. ``--pictures``
keeps what the networks of the first seed make of eight images, for a batch of 4, as arrays.
"""

import argparse
import json
import math
import shlex
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from machine import describe
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stripe.adapter import batch_of
from stripe.analysis import mean_interval
from stripe.asr import fuse, reparameterize
from stripe.data import Data, choose_images, load
from stripe.data.crops import mix
from stripe.models import build
from stripe.models.style import stylize
from stripe.provenance import provenance
from stripe.tasks.options import StyleOptions
from stripe.tasks.style import StyleTransfer
from stripe.training import Compute, Recipe
from stripe.training.epoch import train_epoch
from stripe.training.optimizers import Optimizers

KINDS = ("in", "bn", "asr", "frozen", "half")
HELD_OUT = 200  # images whose losses are measured
NOISY = 64  # images whose dependence on their batch is measured
ROUNDS = 8  # random batches in which each of them is normalised
SHOWN = 8  # images of the pictures
MEASURES = ("content", "style", "noise", "gap")

Array = npt.NDArray[np.float32]


def network(kind: str, width: int) -> nn.Module:
    """The network of a kind, drawn from torch's generator."""
    model = build("style", args={"norm": "in" if kind == "in" else "bn", "width": width})
    if kind == "asr":
        reparameterize(model, attention="se", start="alive")
    if kind == "half":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                nn.init.constant_(module.weight, 0.5)
    return model


def trained(
    kind: str, batch: int, images: int, seed: int, data: Data, task: StyleTransfer, compute: Compute, args: Any
) -> nn.Module:
    """Train a network, on so many images in each epoch."""
    torch.manual_seed(mix(seed, 0))
    model = compute.place(network(kind, args.width))
    recipe = Recipe(
        epochs=args.epochs,
        batch_size=batch,
        lr=1e-3 * math.sqrt(batch / 4),
        schedule="step",
        milestones=(),
        gamma=1.0,
        momentum=0.9,
        weight_decay=0.0,
        algorithm="adamw",
    )
    task.prepare(model, data, compute)
    optimizer = Optimizers(task.optimizers(model, recipe), recipe)
    for epoch in range(1, args.epochs + 1):
        torch.manual_seed(mix(seed, epoch))
        batches = task.batches(data.train, batch, seed=seed, epoch=epoch, images_per_epoch=images)
        optimizer.begin(epoch, len(batches))
        train_epoch(model, batches, optimizer, data, compute, epoch=epoch, task=task)
    return fuse(model).eval()


def losses(model: nn.Module, images: Tensor, data: Data, task: StyleTransfer) -> dict[str, list[float]]:
    """Content and style loss of each image, in evaluation mode and float32."""
    found: dict[str, list[float]] = {"content": [], "style": []}
    with torch.no_grad():
        for part in images.split(50):
            styled = task.forward(model, batch_of(data.normalize(part), model), None)
            for name, values in found.items():
                values += styled.losses[name].tolist()
    return found


def noise(model: nn.Module, images: Tensor, data: Data, batch: int, seed: int) -> dict[str, float]:
    """Batch noise and gap, see above; the network's statistics are not changed."""
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    inputs, made = data.normalize(images), []
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        settled = model.eval()(inputs)
        model.train()
        for _ in range(ROUNDS):
            order = torch.randperm(len(inputs), generator=generator)
            outputs = torch.cat([model(inputs[part]) for part in order.split(batch)])
            made.append(outputs[order.argsort()])
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
    model.eval()
    rounds = torch.stack(made).double()
    total = rounds.mean(0).var(correction=0)
    gap = (rounds.mean(0) - settled).square().mean()
    return {"noise": float(rounds.var(0).mean() / total), "gap": float(gap / total)}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over the seeds and its interval, for each kind and size of a batch; the differences to ``bn`` likewise."""
    by_key = {(row["kind"], row["batch"], row["seed"]): row for row in rows}
    found = []
    for kind, batch in sorted({(row["kind"], row["batch"]) for row in rows}, key=lambda k: (k[1], KINDS.index(k[0]))):
        seeds = [seed for k, b, seed in by_key if (k, b) == (kind, batch)]
        entry: dict[str, Any] = {"kind": kind, "batch": batch, "seeds": len(seeds)}
        for measure in MEASURES:
            values = [by_key[kind, batch, seed][measure] for seed in seeds]
            entry[measure] = spread(values)
            paired = [seed for seed in seeds if ("bn", batch, seed) in by_key]
            if kind != "bn" and paired:
                entry[f"{measure} − bn"] = spread(
                    [by_key[kind, batch, seed][measure] - by_key["bn", batch, seed][measure] for seed in paired]
                )
        found.append(entry)
    return found


def spread(values: list[float]) -> dict[str, float | None]:
    """Mean and half the width of its 95 % interval; None for a single value."""
    found = mean_interval(values)
    return {"mean": found.mean, "half": found.half if found.number > 1 else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--perceptual")
    parser.add_argument("--perceptual-ckpt")
    parser.add_argument("--style", default="drawn:mosaic")
    parser.add_argument("--style-size", type=int, default=96)
    parser.add_argument("--style-weight", type=float, default=1e10)
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batches", default="1,4,16")
    parser.add_argument("--images-per-epoch", default="600,600,600")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    args = parser.parse_args()
    compute = Compute.on(torch.device(args.device), args.precision)
    data = load(args.data, image_size=args.image_size).with_annotations(())

    def task(kind: str) -> StyleTransfer:
        return StyleTransfer(
            StyleOptions(
                style=args.style,
                style_size=args.style_size,
                style_weight=args.style_weight,
                perceptual=args.perceptual,
                perceptual_ckpt=args.perceptual_ckpt,
                freeze_norm=args.epochs // 2 if kind == "frozen" else None,
                pictures=0,
            )
        )

    chosen = choose_images(data.test.labels, min(HELD_OUT, len(data.test)), seed=0)
    collate = task("in").collate
    images = torch.cat([collate(*batch)[0] for batch in data.test.loader(50, indices=chosen)])
    setting = {
        key: str(value) for key, value in sorted(vars(args).items()) if key not in ("out", "pictures", "seeds", "kinds")
    }
    record: dict[str, Any] = {"setting": setting, "runs": []}
    if args.out.exists():
        record = json.loads(args.out.read_text())
        if record["setting"] != setting:
            sys.exit(f"{args.out} holds another setting: {record['setting']}")
    done = {(row["kind"], row["batch"], row["seed"]) for row in record["runs"]}
    kept: dict[str, Array] = {}
    if args.pictures and args.pictures.exists():
        kept = dict(np.load(args.pictures))
    batches = zip(map(int, args.batches.split(",")), map(int, args.images_per_epoch.split(",")), strict=True)
    for seed, (batch, per_epoch), kind in product(range(args.seeds), batches, args.kinds.split(",")):
        if (kind, batch, seed) in done:
            continue
        started, of = time.process_time(), task(kind)
        model = trained(kind, batch, per_epoch, seed, data, of, compute, args)
        each = losses(model, images.to(compute.device), data, of)
        measured = noise(model, images[:NOISY].to(compute.device), data, batch, seed)
        row = {"kind": kind, "batch": batch, "seed": seed, **{name: float(np.mean(v)) for name, v in each.items()}}
        row |= measured | {"seconds": round(time.process_time() - started, 1), "each": each}
        record["runs"].append(row)
        record |= {
            "task": {k: v for k, v in of.settings().items() if k in ("perceptual", "picture_sha256")},
            "held_out": len(images),
            "summary": summary(record["runs"]),
            "machine": describe(compute.device),
            "command": shlex.join(sys.argv),
            "provenance": provenance(),
        }
        args.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        print(json.dumps({key: value for key, value in row.items() if key != "each"}), flush=True)
        if args.pictures and seed == 0 and batch == 4:
            shown = images[:: max(1, len(images) // SHOWN)][:SHOWN]  # of all classes, which they are sorted by
            kept |= {"content": shown.numpy(), kind: stylize(model, shown, data.normalization).numpy()}
            np.savez_compressed(args.pictures, **kept)


if __name__ == "__main__":
    main()
