"""The experiment of notebook 06: does folding cost accuracy, once everything else is equal?

    python analyses/06_seeds.py --data folder:PATH --out FOLDER [--seeds 5] [--epochs 16] [--finetune 4] [--jobs 2]
        [--minutes 120] [--device cuda]

For every seed six networks are trained for the same number of epochs in all, on the same images in the same order:

- ``none``: the plain backbone;
- ``half``: the plain backbone whose last γ of each block starts at .5, about where a sigmoid starts;
- ``se``: with SE;
- ``asr``: with ASR of SE, which is fused before it is scored;
- ``se+finetuning``: SE for ``--epochs``, and then ``--finetune`` epochs at the low learning rate;
- ``folded+finetuning``: the same SE network, all sites folded, and then the same ``--finetune`` epochs.

``se, short``, ``constants`` and ``scale`` are what lies between: that SE network itself, folded into means, and into
least-squares constants. Accuracies are those of the last epoch on all test images; nothing is selected. A tenth of the
training images is held out, of which the folded constants' cost is measured; the means are taken over 2,000 others.

Finished trainings are kept in ``FOLDER`` and not repeated. ``FOLDER/seeds.json`` has every number, its means with 95 %
intervals (Student's t over the seeds), the differences that are paired by seed, and the machine.
"""

import argparse
import json
import multiprocessing
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import stripe
from stripe import asr
from stripe.data import Data
from stripe.devices import pick_device
from stripe.files import write_whole
from stripe.fold import Finetune, fold
from stripe.fold.batches import Augmented, Fed
from stripe.fold.finetuning import finetune
from stripe.provenance import provenance
from stripe.training import RESNET, Compute, Recipe, evaluate, train
from stripe.training.holdout import hold_out

MODEL = "resnet20"
CALIBRATION = 2000
TRAINED: dict[str, dict[str, Any]] = {
    "none": {},
    "half": {"args": {"last_gamma": 0.5}},
    "se": {"attention": "se"},
    "asr": {"mode": "asr", "attention": "se"},
}
PAIRS = [
    ("se", "none"),
    ("asr", "none"),
    ("half", "none"),
    ("asr", "half"),
    ("folded+finetuning", "se+finetuning"),
    ("folded+finetuning", "se"),
    ("folded+finetuning", "none"),
    ("folded+finetuning", "asr"),
    ("se+finetuning", "se, short"),
    ("constants", "se, short"),
    ("scale", "se, short"),
]


@lru_cache
def data_of(spec: str) -> Data:
    """Loaded, and decoded, once a process."""
    return stripe.data.load(spec)


def recipe_of(args: argparse.Namespace, epochs: int) -> Recipe:
    return replace(RESNET.scaled(epochs), batch_size=args.batch_size, weight_decay=5e-4, schedule="cosine")


def accuracy(model: torch.nn.Module, data: Data, compute: Compute) -> float:
    return evaluate(model, data.test.loader(1000), data, compute).accuracy


def trained(args: argparse.Namespace, name: str, seed: int) -> dict[str, float]:
    """One network that is trained in one go."""
    data, compute = data_of(args.data), Compute.on(pick_device(args.device))
    settings = {"model": MODEL, "seed": seed, "save_every": 0, "device": args.device, **TRAINED[name]}
    epochs = args.epochs + args.finetune
    run = train(args.out / f"{name}-{seed}", data, recipe=recipe_of(args, epochs), **settings)
    model = asr.fuse(compute.place(stripe.load(run.checkpoint(epochs))))
    return {name: accuracy(model, data, compute)}


def finetuned(args: argparse.Namespace, name: str, seed: int) -> dict[str, float]:
    """SE trained shorter; then that network, and the one that was folded, are trained on in the same way."""
    data, compute = data_of(args.data), Compute.on(pick_device(args.device))
    out = args.out / f"{name}-{seed}"
    run = train(
        out,
        data,
        recipe=recipe_of(args, args.epochs),
        model=MODEL,
        attention="se",
        seed=seed,
        save_every=0,
        device=args.device,
    )
    model = compute.place(stripe.load(run.checkpoint(args.epochs)))
    kept, held = hold_out(data.train)
    chosen = np.random.default_rng(seed).choice(len(kept), min(CALIBRATION, len(kept)), replace=False)
    exact = replace(compute, dtype=torch.float32)
    calibration = list(Fed(kept.loader(500, indices=chosen), data, exact))
    judges = list(Fed(held.loader(500), data, exact))

    def training() -> Finetune:
        batches = Augmented(kept, args.batch_size, seed, data, compute)
        return Finetune(batches, args.finetune, args.lr, weight_decay=5e-4)

    found = {"se, short": accuracy(model, data, compute)}
    found["constants"] = accuracy(fold(model, calibration, held_out=judges).model, data, compute)
    scaled = fold(model, calibration, held_out=judges, win_back="scale")
    found["scale"] = accuracy(scaled.model, data, compute)
    everything = fold(model, calibration, held_out=judges, win_back="scale", finetuning=training())
    found["folded+finetuning"] = accuracy(everything.model, data, compute)
    torch.manual_seed(seed)
    finetune(model, training())
    found["se+finetuning"] = accuracy(model, data, compute)
    return found


def measure(args: argparse.Namespace, name: str, seed: int) -> dict[str, float]:
    """The accuracies of one job, from its file where it was done before."""
    torch.set_num_threads(max(1, torch.get_num_threads() // args.jobs))
    file: Path = args.out / f"{name}-{seed}.json"
    if file.exists():
        done: dict[str, float] = json.loads(file.read_text())
        return done
    found = trained(args, name, seed) if name in TRAINED else finetuned(args, name, seed)
    write_whole(file, json.dumps(found).encode())
    return found


def interval(values: list[float]) -> dict[str, Any]:
    """The mean and its 95 % interval by Student's t."""
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)) if len(values) > 1 else None
    return {"mean": mean, "half_width": half, "seeds": len(values)}


def summary(found: dict[str, dict[int, float]]) -> dict[str, Any]:
    differences = {}
    for one, other in PAIRS:
        shared = sorted(found[one].keys() & found[other].keys())
        if shared:
            differences[f"{one} − {other}"] = interval([found[one][seed] - found[other][seed] for seed in shared])
    means = {name: interval(list(by_seed.values())) for name, by_seed in found.items()}
    return {"accuracies": found, "means": means, "differences": differences}


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="shapes", help="as for `stripe train --data`")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=16, help="before the fine-tuning; the others train for both")
    parser.add_argument("--finetune", type=int, default=4, help="epochs")
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate of the fine-tuning")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    parser.add_argument("--minutes", type=float, default=120.0, help="after which no training is begun any more")
    parser.add_argument("--device")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    about = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    about |= {"model": MODEL, "machine": str(pick_device(args.device)), **provenance()}
    found: dict[str, dict[int, float]] = defaultdict(dict)
    failures = {}
    jobs = [(name, seed) for seed in range(args.seeds) for name in ("tuned", *TRAINED)]
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(measure, args, *job): job for job in jobs}
        for future in as_completed(waiting):
            name, seed = waiting[future]
            if future.cancelled():
                continue
            try:
                for key, value in future.result().items():
                    found[key][seed] = value
            except Exception as error:  # the other trainings go on
                failures[f"{name}-{seed}"] = f"{type(error).__name__}: {error}"
            minutes = (time.monotonic() - started) / 60
            print(f"{name}, seed {seed}: {minutes:.1f} min, {failures.get(f'{name}-{seed}', 'done')}", flush=True)
            if minutes > args.minutes:
                for other in waiting:
                    other.cancel()
            whole = {"about": about, "minutes": round(minutes, 1), "failures": failures, **summary(found)}
            write_whole(args.out / "seeds.json", json.dumps(whole, indent=1, ensure_ascii=False).encode())
    for name, row in summary(found)["differences"].items():
        print(f"{name}: {row['mean']:+.2f} ± {row['half_width'] or float('nan'):.2f} ({row['seeds']} seeds)")


if __name__ == "__main__":
    main()
