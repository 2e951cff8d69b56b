"""What attention, ASR and folding do to the accuracy of a network, at equal epochs, over several seeds.

    python benchmarks/accuracy.py --out accuracy.json [--data folder:PATH] [--model resnet20] [--attention se]
        [--seeds 5] [--epochs 24] [--tuning 4] [--images-per-epoch 45000] [--jobs 2] [--minutes 60] [--device cpu]
        [--precision bfloat16]

Every network sees the same number of epochs and, for the same seed, the same images in the same order with the same
crops. ``none``, ``attention``, ``asr`` (fused) and ``half`` are trained for all of them. ``half`` is the plain network
with γ = .5 in the last normalisation of each block at the start, where the value of an ASR begins, too: what ``asr``
gains beyond it, a smaller start does not explain. ``short`` is the network with attention, trained for as many epochs
less as there are of fine-tuning; it is then trained on at a low rate (``tuned``), which is the control of being folded
and trained on in the same way (``folded, tuned``). ``folded`` and ``folded, won back`` are not trained any more.

The rate falls along a cosine. The accuracy is that of the test images after the last epoch; no epoch is chosen by it.
The file says every number with its seed, the means with 95 % intervals (Student's t), the paired differences likewise,
and how constant each gate is in the trained network and in the one at initialisation. It is written anew whenever a
network is ready.

``--jobs`` networks are trained side by side, in processes that share the decoded images. With ``--minutes`` a short
trial finds out how many epochs fit, at most ``--epochs``. The same command goes on where an interrupted one stopped.
"""

import argparse
import json
import multiprocessing
import shlex
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from machine import describe
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import stripe
from stripe import models
from stripe.analysis import mean_interval
from stripe.asr import fuse
from stripe.capture import discover
from stripe.data import Data, choose_images, load
from stripe.data.crops import mix
from stripe.fold import Finetune, FoldResult, fold
from stripe.fold.calibration import calibrate
from stripe.fold.finetuning import finetune
from stripe.fold.loaders import AugmentedLoader, NormalizedLoader
from stripe.fold.sample import Sample
from stripe.provenance import provenance
from stripe.training import RESNET, Compute, Recipe, Run, evaluate, network, train
from stripe.training.holdout import hold_out

TRAININGS = ("short", "none", "attention", "asr", "half")
DIFFERENCES = (
    ("attention", "none"),
    ("asr", "none"),
    ("half", "none"),
    ("asr", "half"),
    ("tuned", "attention"),
    ("folded", "short"),
    ("folded, won back", "short"),
    ("folded, tuned", "tuned"),
    ("folded, tuned", "attention"),
    ("folded, tuned", "asr"),
)
CALIBRATION = 2048  # images that the means are taken over
GATES = 1000  # images on which gates are looked at
RATE = 0.01  # of fine-tuning, at its first step
TRIAL = 96  # steps of an epoch of the trial
FOLDING = 1  # epochs that folding takes as long as
SPARE = 1.15  # epochs may take longer than the trial's


@dataclass(frozen=True)
class Setting:
    """What all networks have in common.

    Attributes:
        data: The data set, decoded.
        model: The backbone.
        attention: The attention module.
        epochs: That each network is trained for in all.
        tuning: How many of them are fine-tuning, where there is any.
        device: Where to compute.
        precision: Of convolutions and matrix products.
        batch_size: Images per step.
        images_per_epoch: Training images of an epoch, others in each; None: all that are not held out.
        runs: The folder of the run directories.
    """

    data: Data
    model: str
    attention: str
    epochs: int
    tuning: int
    device: str
    precision: Any
    batch_size: int
    images_per_epoch: int | None
    runs: Path

    @property
    def compute(self) -> Compute:
        """The device and the precision, worked out in the process that uses them."""
        return Compute.on(torch.device(self.device), self.precision)

    def recipe(self, epochs: int) -> Recipe:
        """The paper's recipe with a cosine in the place of its steps."""
        cosine = replace(RESNET, schedule="cosine", milestones=(), gamma=1.0, per_step=True)
        return replace(cosine, epochs=epochs, batch_size=self.batch_size)

    def train(self, name: str, seed: int, epochs: int, **settings: Any) -> Run:
        """Train a network, or go on with its training."""
        usual = {"model": self.model, "images_per_epoch": self.images_per_epoch, "precision": self.precision}
        given: dict[str, Any] = usual | {"recipe": self.recipe(epochs), "seed": seed} | settings
        return train(self.runs / name, self.data, save_every=0, device=self.device, **given)


_shared: dict[str, Setting] = {}
"""The setting, which the worker processes inherit with the decoded images, and do not get sent."""


def halved(model: str, num_classes: int) -> nn.Module:
    """The plain network, the last normalisation of each block at γ = .5."""
    built = models.build(model, num_classes=num_classes)
    for module in built.modules():
        if isinstance(module, models.Bottleneck):
            nn.init.constant_(module.bn3.weight, 0.5)
    return built


def kinds(setting: Setting) -> dict[str, dict[str, Any]]:
    """What is said to `stripe.training.train` for each network that is trained from the start."""
    return {
        "none": {},
        "attention": {"attention": setting.attention},
        "short": {"attention": setting.attention},
        "asr": {"attention": setting.attention, "mode": "asr"},
        "half": {"model": f"python:{Path(__file__).stem}:halved", "args": {"model": setting.model}},
    }


def finished(setting: Setting, kind: str, seed: int) -> dict[str, Any]:
    """Train a network, and what is made of it; all that is to be said of them."""
    epochs = setting.epochs - setting.tuning * (kind == "short")
    run = setting.train(f"{kind}-{seed}", seed, epochs, **kinds(setting)[kind])
    file = run.checkpoint(epochs)
    if kind == "half":  # a file does not say that code of ours is to be run
        loaded = stripe.load(file, halved(setting.model, len(setting.data.classes)))
    else:
        loaded = stripe.load(file)
    last = setting.compute.place(loaded).eval()
    if kind == "asr":
        last = fuse(last)
    found = {"rows": [row(setting, kind, seed, last, epochs)], "seconds": round(run.metrics["seconds"].sum(), 1)}
    if kind == "attention":
        found["gates"] = [*gates(setting, seed, last, "trained"), *gates(setting, seed, untrained(setting, seed))]
    if kind == "short":
        after = tune(setting, seed, last)
        found["rows"] += after["rows"]
        found["folds"] = after["folds"]
    return found


def tune(setting: Setting, seed: int, trained: nn.Module) -> dict[str, Any]:
    """The network with attention trained on, folded, and folded and trained on."""
    compute, data = setting.compute, setting.data
    rest, held = hold_out(data.train)

    def going_on() -> Finetune:  # anew, so that both see the same images in the same order
        images = AugmentedLoader(
            rest, setting.batch_size, seed, data, compute, images_per_epoch=setting.images_per_epoch
        )
        return Finetune(images, setting.tuning, RATE, precision=setting.precision)

    chosen = choose_images(rest.labels, min(CALIBRATION, len(rest)), seed)
    judged = choose_images(held.labels, min(CALIBRATION, len(held)), seed)
    calibration = NormalizedLoader(rest.loader(setting.batch_size, indices=chosen), data, compute)
    judges = NormalizedLoader(held.loader(setting.batch_size, indices=judged), data, compute)
    some = AugmentedLoader(rest, setting.batch_size, seed, data, compute, images_per_epoch=len(chosen))
    cheap = setting.epochs - setting.tuning
    rows, folds = [], []

    def folded(name: str, epochs: int, **how: Any) -> None:
        result: FoldResult = fold(trained, calibration, held_out=judges, **how)
        rows.append(row(setting, name, seed, compute.place(result.model), epochs))
        tables = {"sites": result.sites, "steps": result.steps}
        folds.append({"network": name, "seed": seed} | {key: records(table) for key, table in tables.items()})

    folded("folded", cheap)
    folded("folded, won back", cheap, win_back=("scale", "batchnorm"), augmented=some)
    folded("folded, tuned", setting.epochs, finetuning=going_on())
    with torch.enable_grad():
        finetune(trained, going_on())  # last, for it changes the network
    rows.append(row(setting, "tuned", seed, trained, setting.epochs))
    return {"rows": rows, "folds": folds}


def records(table: Any) -> list[dict[str, Any]]:
    """Rows as JSON can hold them: null where a number is undefined."""
    return json.loads(table.to_json(orient="records"))  # type: ignore[no-any-return]


def row(setting: Setting, name: str, seed: int, model: nn.Module, epochs: int) -> dict[str, Any]:
    """How well a network does on all test images."""
    score = evaluate(model, setting.data.test.loader(500), setting.data, setting.compute)
    return {
        "network": name,
        "seed": seed,
        "epochs": epochs,
        "test_accuracy": round(score.accuracy, 3),
        "test_loss": score.loss,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def untrained(setting: Setting, seed: int) -> nn.Module:
    """The network with attention as its training began, with batch statistics of training images."""
    torch.manual_seed(mix(seed, 0))
    described = network.describe(
        setting.model, attention=setting.attention, num_classes=len(setting.data.classes), seed=seed
    )
    built = setting.compute.place(network.build(described)).train()
    for module in built.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = None  # the mean of all batches
    with torch.no_grad():
        for images, _ in NormalizedLoader(images_of(setting, seed, setting.data.train), setting.data, setting.compute):
            built(images)
    return built.eval()


def images_of(setting: Setting, seed: int, split: Any) -> Any:
    return split.loader(250, indices=choose_images(split.labels, min(GATES, len(split)), seed))


def gates(setting: Setting, seed: int, model: nn.Module, state: str = "at initialisation") -> list[dict[str, Any]]:
    """How constant the gate of each site is over test images."""
    images = NormalizedLoader(images_of(setting, seed, setting.data.test), setting.data, setting.compute)
    few = next(iter(images))[0][:2]
    sites = [site for site in discover(model, few) if site.is_attention]
    rows = []
    for name, moments in calibrate(model, sites, Sample(images, model, "test images")).items():
        variance, square = float(moments.variance.mean()), float((moments.variance + moments.mean.square()).mean())
        error, index = (variance / square) ** 0.5, moments.stripe_index
        row = {"seed": seed, "state": state, "site": name, "constant_error": error, "std": moments.std}
        rows.append({**row, "stripe_index": index if index == index else None})
    return rows


def trial(number: int) -> float:
    """Seconds of an epoch while others are trained on the same device."""
    setting = _shared["setting"]
    images = setting.images_per_epoch or len(hold_out(setting.data.train)[0])
    some = min(images, TRIAL * setting.batch_size)
    run = setting.train(f"trial-{number}", number, 2, attention=setting.attention, images_per_epoch=some)
    last = run.history[-1]
    return last.seconds + (images - some) / last.images_per_second


def work(job: tuple[str, int, int, int]) -> dict[str, Any]:
    """One job in a worker; what goes wrong is told and stops no other."""
    kind, seed, epochs, tuning = job
    setting = replace(_shared["setting"], epochs=epochs, tuning=tuning)
    file = setting.runs / f"{kind}-{seed}.json"
    if file.exists():
        return json.loads(file.read_text())  # type: ignore[no-any-return]
    try:
        found = {"job": [kind, seed], **finished(setting, kind, seed), **describe(torch.device(setting.device))}
    except Exception:
        return {"job": [kind, seed], "problem": traceback.format_exc()}
    write(file, found)
    return found


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    unfinished.replace(path)


def mean_of(values: Iterable[float]) -> dict[str, Any]:
    """The mean and its 95 % interval."""
    found = mean_interval(values)
    interval = [round(found.low, 3), round(found.high, 3)] if found.number > 1 else None
    return {"mean": round(found.mean, 3), "interval": interval, "seeds": found.number}


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and paired differences of the test accuracy, of all seeds that are ready."""
    rows = [row for result in results for row in result.get("rows", ())]
    by_network: dict[str, dict[int, float]] = {}
    for row in rows:
        by_network.setdefault(row["network"], {})[row["seed"]] = row["test_accuracy"]
    differences = {}
    for one, other in DIFFERENCES:
        both = by_network.get(one, {}).keys() & by_network.get(other, {}).keys()
        if both:
            differences[f"{one} − {other}"] = mean_of(by_network[one][s] - by_network[other][s] for s in sorted(both))
    found = sorted({(gate["site"], gate["state"]) for result in results for gate in result.get("gates", ())})
    return {
        "test_accuracy": {name: mean_of(values.values()) for name, values in by_network.items()},
        "differences": differences,
        "constant_error": {
            f"{site}, {state}": mean_of(
                gate["constant_error"]
                for result in results
                for gate in result.get("gates", ())
                if (gate["site"], gate["state"]) == (site, state)
            )
            for site, state in found
        },
    }


def planned(args: argparse.Namespace, pool: Any, left: float | None) -> dict[str, Any]:
    """Epochs in all, those of fine-tuning among them, and the seconds that one took in the trial; as it was, again."""
    file = _shared["setting"].runs / "plan.json"
    if file.exists():
        return json.loads(file.read_text())  # type: ignore[no-any-return]
    epochs, seconds = args.epochs, None
    if left is not None:
        started = time.monotonic()
        seconds = min(pool.map(trial, range(args.jobs), chunksize=1))  # the others were disturbed by those that began
        left -= time.monotonic() - started
        waves = max(1, len(TRAININGS) * args.seeds / args.jobs)
        longest = left / (SPARE * seconds * waves) - FOLDING  # that is ``short``, which is tuned twice
        epochs = max(2, min(args.epochs, int(longest / (1 + args.tuning / args.epochs))))
    plan = {"epochs": epochs, "tuning": max(1, round(args.tuning * epochs / args.epochs)), "epoch_seconds": seconds}
    write(file, plan)
    return plan


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--runs", type=Path, help="folder of the trainings; default: beside the file")
    parser.add_argument("--data", default="shapes", help="as for `stripe train --data`")
    parser.add_argument("--model", default="resnet20", help="one of our own bottleneck ResNets")
    parser.add_argument("--attention", default="se")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=24, help="of each network in all")
    parser.add_argument("--tuning", type=int, default=4, help="how many of these are fine-tuning")
    parser.add_argument("--images-per-epoch", type=int, help="random ones in each; default: all")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--jobs", type=int, default=2, help="networks that are trained side by side")
    parser.add_argument("--minutes", type=float, help="that all may take; fewer epochs are trained then")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="default: what suits the device")
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = (args.runs or args.out.with_name(f"{args.out.stem}-runs")).resolve()
    runs.mkdir(parents=True, exist_ok=True)
    data = load(args.data)
    for split in (data.train, data.test):  # decoded once, and then inherited by every worker
        next(iter(split.loader(1)))
    usual = {name: value for name, value in vars(args).items() if name in Setting.__dataclass_fields__}
    _shared["setting"] = Setting(**usual | {"data": data, "runs": runs})
    deadline = started + 60 * args.minutes if args.minutes is not None else None
    results: list[dict[str, Any]] = []

    def left() -> float | None:
        return None if deadline is None else deadline - time.monotonic()

    # Forked before anything runs on a GPU, which a process that was forked later could not use.
    with multiprocessing.get_context("fork").Pool(args.jobs) as pool:
        plan = planned(args, pool, left())
        about = {
            "benchmark": "accuracy",
            **{name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
            **plan,
            "training_images": len(hold_out(data.train)[0]),
            "test_images": len(data.test),
            **provenance(),
            "command": shlex.join(sys.argv),
        }
        jobs = [(kind, seed, plan["epochs"], plan["tuning"]) for seed, kind in product(range(args.seeds), TRAININGS)]
        answers = pool.imap_unordered(work, jobs)
        for _ in jobs:
            try:
                result = answers.next(timeout=left())
            except multiprocessing.TimeoutError:
                print(f"stopped after {args.minutes:g} minutes; the same command goes on", file=sys.stderr)
                break
            results.append(result)
            seconds = round(time.monotonic() - started, 1)
            content = {**about, "seconds": seconds, "jobs_left": len(jobs) - len(results), **summary(results)}
            write(args.out, {**content, "results": results})
            said = result.get("problem") or {row["network"]: row["test_accuracy"] for row in result["rows"]}
            print(json.dumps({"job": result["job"], "seconds": seconds, "found": said}), flush=True)
    sys.exit(int(len(results) < len(jobs) or any("problem" in result for result in results)))


if __name__ == "__main__":
    main()
