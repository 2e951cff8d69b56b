"""Damaged files through every entry that reads them: each must be read, or refused by a StripeError.

    python tests/damage.py [--inputs 2000] [--seed 0] [--kind capture] [--keep FOLDER]

Every input is the damage of one whole file, drawn from (seed, number), so that any of them can be made again. It is
read in a process of its own: a crash by a signal and a hang count, too. Prints a line for each input that ended in
something else, then counts as JSON; exits with 1 where there was one.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import dask
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stripe import plots, report
from stripe.analysis import center_bias, metrics, verdicts
from stripe.capture import CaptureSession, open_capture
from stripe.cli import main as command_line
from stripe.errors import StripeError
from stripe.gradcam import gradcam, save
from stripe.reproduce import Plan, read
from stripe.training import RESNET, EpochMetrics, Run
from stripe.training.state import load_state, save_state

ATTRS = {"model": "toy", "data": "random", "seed": 3, "scale": "2 epochs", "classes": ["cat", "dog"]}
SECONDS = 120  # after which an input counts as a hang
MEMORY = 16 * 2**30  # of a process, so that a size that is damage can't take all there is

RECIPE = """
title = "Accuracy"
source = "table 1"
claim = "As good."

[run]
data = "cifar10"
attention = "se"

[[rows]]
name = "ResNet83"
group = "small"
paper = [74.1, nan]
model = "resnet83"
noise = [1.0, 0.1]

[[rows]]
name = "ResNet164"
paper = [75.1, 2]
model = "resnet164"
quick = { copies = 2, psi = 0.2 }

[[columns]]
name = "plain"
attention = "none"

[[columns]]
name = "ASR"
mode = "asr"

[draw]
kind = "table"
lines = false
"""


class Gate(nn.Module):
    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x.mean(self.dims, keepdim=True))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    gates = [Gate((2, 3)), Gate((1,))]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    return nn.Sequential(nn.Conv2d(3, 4, 3), *gates, nn.Conv2d(4, 4, 3), *head).eval()


def loader() -> DataLoader:
    images = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(images, torch.tensor([0, 1, 0, 1, 0, 1])), batch_size=4)


def make(folder: Path) -> dict[str, Path]:
    """Whole files of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(True)
    model, paths = network(), [f"{number}.png" for number in range(6)]
    made = {kind: folder / f"{kind}.h5" for kind in ("capture", "maps")}
    with CaptureSession(model, loader(), made["capture"], epochs=[1, 2], attrs=ATTRS, paths=paths) as session:
        session.record(1, learning_rate=0.1)
        session.record(2, learning_rate=0.01)
    averages = gradcam(model, loader(), "1")
    AVERAGES[:] = [gradcam(model, loader(), "2")]
    for path in made.values():
        save(averages, path, attrs=ATTRS, paths=paths)
    run = Run(folder / "run")
    settings = {"model": "toy", "attention": "se", "data": "random", "seed": 0, "select": "test", "classes": ["a", "b"]}
    settings |= {
        "asr": {"attention": "ie"},
        "noise": {"factor": 1.0, "offset": 0.1},
        "recipe": {"epochs": 3, "lr": 0.1},
    }
    history = [EpochMetrics(epoch, 0.1, 2.3, 10.0, 2.2, 12.0, 3.5, 100.0) for epoch in (1, 2)]
    with run.claim(settings, {"device": "cpu"}, scale="3 epochs"):
        run.write_metrics(history)
        save_state(run.state_file, *trained(), history)
        shutil.copy(made["capture"], run.capture_file)
    (folder / "recipe.toml").write_text(RECIPE)
    return made | {"run": run.path, "recipe": folder / "recipe.toml"}


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = network()
    optimizer = replace(RESNET, batch_size=2).optimizer(model.parameters())
    model(torch.rand(2, 3, 12, 12)).sum().backward()
    optimizer.step()
    return model, optimizer


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """A file that was damaged in one or several ways."""
    data = bytearray(content)
    for _ in range(int(random.choice([1, 1, 1, 2, 4]))):
        size = len(data)
        at, length = (int(random.integers(size)), int(2 ** random.uniform(0, np.log2(size)))) if size > 1 else (0, 1)
        match random.integers(8):
            case 0 | 1 | 2:  # single bits
                for place in random.integers(size, size=int(random.integers(1, 9))) if size else ():
                    data[place] ^= 1 << int(random.integers(8))
            case 3:  # the end is missing
                del data[at:]
            case 4:  # a range that was never written
                data[at : at + length] = bytes(len(data[at : at + length]))
            case 5:  # a range of somewhere else
                other = int(random.integers(size)) if size else 0
                data[at : at + length] = data[other : other + length]
            case 6:  # bytes that somebody made up
                data[at : at + min(length, 16)] = random.bytes(min(length, 16))
            case 7:  # a number at its ends
                data[at : at + 8] = random.choice([b"\xff" * 8, b"\0" * 8, b"\xff" * 4 + b"\0" * 4, b"\x7f" * 8])
    return bytes(data)


def of_capture(path: Path, out: Path, random: np.random.Generator) -> list[Callable[[], object]]:
    """What reads a capture, and what writes into one that is there."""

    def analyse() -> None:
        tree = open_capture(path)
        if "sites" in tree.children:
            verdicts(metrics(tree))
        for layer in tree["gradcam"].children.values() if "gradcam" in tree.children else ():
            center_bias(layer.to_dataset())

    def resume(epochs: list[int]) -> None:
        copy = out / f"resumed-{epochs[-1]}.h5"
        shutil.copy(path, copy)
        with CaptureSession(network(), loader(), copy, epochs=epochs, attrs=ATTRS) as session:
            for epoch in sorted(set(epochs) - session.completed):
                session.record(epoch)
        verdicts(metrics(open_capture(copy)))

    def extend() -> None:
        copy = out / "extended.h5"
        shutil.copy(path, copy)
        save(AVERAGES[0], copy, attrs=ATTRS)  # type: ignore[arg-type]
        open_capture(copy)

    writers: list[Callable[[], object]] = [lambda: resume([1, 2]), lambda: resume([1, 2, 3]), extend]
    work: list[Callable[[], object]] = [analyse, lambda: call("inspect", path), lambda: call("analyze", path)]
    pictures = [lambda kind=kind: call("plot", path, "--kind", kind, "-o", out / "a.png") for kind in plots.KINDS]
    pages = [lambda: report.save(out / "a.html", path)]
    return work + [some for some in writers + pictures + pages if random.random() < 0.25]


def of_run(path: Path, out: Path, random: np.random.Generator) -> list[Callable[[], object]]:
    """What reads a run directory, and what goes on with one."""
    run = Run(path)

    def resume() -> None:
        model, optimizer = trained()
        with run.claim(run.settings, {"device": "cpu"}, scale=run.scale):
            history = load_state(run.state_file, model, optimizer)
            model(torch.rand(2, 3, 12, 12)).sum().backward()
            optimizer.step()
            run.write_metrics(history)

    pages = [
        lambda: report.save(out / "run.html", runs=[run]),
        lambda: call("plot", path, "--kind", "training", "-o", out / "a.png"),
    ]
    work: list[Callable[[], object]] = [
        lambda: run.best,
        lambda: run.history,
        lambda: plots.runs.run_name(run.settings),
    ]
    return work + [some for some in pages if random.random() < 0.6] + [resume]


def of_recipe(path: Path, out: Path, random: np.random.Generator) -> list[Callable[[], object]]:
    return [lambda: [Plan.make(read(path), scale).requests for scale in ("quick", "paper")]]


AVERAGES: list[object] = []  # of the whole files, made once

READERS = {"capture": of_capture, "maps": of_capture, "run": of_run, "recipe": of_recipe}
RUN_FILES = ("run.json", "metrics.csv", "state.pt", "capture.h5")


class Always:
    """Stands for a random generator whose every chance comes true."""

    def random(self) -> float:
        return 0.0


def call(*arguments: object) -> None:
    """The command line, as a person gives it; 1 and 2 are refusals, a traceback is none."""
    nowhere = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        command_line([str(argument) for argument in arguments], standalone_mode=False)


def outcomes(kind: str, whole: Path, folder: Path, seed: tuple[int, int], *, light: bool = False) -> list[str]:
    """Damage a file, read it; the tracebacks of what was neither success nor a StripeError.

    Args:
        kind: A key of `READERS`.
        whole: A sound file or folder of that kind.
        folder: An empty one.
        seed: Decides the damage.
        light: Whether to read it in the one way that is the fastest, and not in all.
    """
    random = np.random.default_rng(seed)
    path = folder / whole.name
    if whole.is_dir():
        shutil.copytree(whole, path)
        target = path / RUN_FILES[int(random.integers(len(RUN_FILES)))]
    else:
        target = path
    source = whole / target.name if whole.is_dir() else whole
    target.write_bytes(damaged(source.read_bytes(), random))
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for work in READERS[kind](path, folder, random)[: 1 if light else None]:
            try:
                work()
            except (StripeError, click.ClickException):
                pass
            except Exception:
                found.append(traceback.format_exc())
    return found


def apart(kind: str, whole: Path, folder: Path, seed: tuple[int, int]) -> tuple[str, str]:
    """The same in a forked process: ``fine``, ``error``, ``signal`` or ``hang``, and what there is to say."""
    folder.mkdir()
    log = folder / "errors.txt"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            found = outcomes(kind, whole, folder, seed)
            log.write_text("\n".join(found))
            code = int(bool(found))
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return ("hang", f"after {SECONDS} s") if number == signal.SIGALRM else ("signal", signal.Signals(number).name)
    text = log.read_text() if log.exists() else "the process ended by itself"
    return ("error", text) if os.WEXITSTATUS(status) else ("fine", "")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=READERS, action="append")
    parser.add_argument("--keep", type=Path, help="Where damaged files that ended badly are kept.")
    options = parser.parse_args()
    kinds = options.kind or ["capture", "capture", "maps", "run", "recipe"]
    dask.config.set(scheduler="synchronous")  # threads would not be there after a fork
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    with tempfile.TemporaryDirectory() as scratch:
        whole = make(Path(scratch) / "whole")
        for kind in kinds:  # in this process, so that its children need not import anything
            (Path(scratch) / kind).mkdir(exist_ok=True)
            for work in READERS[kind](whole[kind], Path(scratch) / kind, Always()):  # type: ignore[arg-type]
                with contextlib.suppress(StripeError):
                    work()
        for number in range(options.first, options.first + options.inputs):
            kind = kinds[number % len(kinds)]
            folder = Path(scratch) / str(number)
            outcome, said = apart(kind, whole[kind], folder, (options.seed, number))
            counts[kind][outcome] += 1
            if outcome != "fine":
                print(f"{number} {kind} {outcome}: {said.strip()}\n", flush=True)
                if options.keep:
                    shutil.copytree(folder, options.keep / str(number), dirs_exist_ok=True)
            shutil.rmtree(folder)
    print(json.dumps(counts))
    return int(any(outcome != "fine" for count in counts.values() for outcome in count))


if __name__ == "__main__":
    sys.exit(main())
