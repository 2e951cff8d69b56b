"""The stages of ``benchmarks/gpu.sh``: programs that run one after the other with time limits, and one file of results.

A stage runs programs of this folder, which print JSON lines. When the stage ends, even if it failed or took too long,
the lines are written into ``gpu.json``, and the next stage begins.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
RESERVE = 5  # seconds before the end at which the last stage is over
LEAST = 20  # seconds that a stage needs to be begun at all
START = 10  # seconds of the training stage that its program does not see: imports

MACHINE = """
import json, sys, torch
from stripe.bench import describe_machine
from stripe.devices import pick_device
from stripe.provenance import provenance
from importlib.metadata import version
device = pick_device(sys.argv[1])
memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
other = {name: version(name) for name in ("h5py", "xarray", "pandas")}
print(json.dumps({**provenance(), **other, **describe_machine(device), "memory_bytes": memory}))
"""

FOLDED = (
    "timm:seresnet50,timm:ecaresnet26t,timm:efficientnet_b0,timm:mobilenetv3_large_100,timm:regnety_032,"
    "timm:repvit_m0_9,timm:ecaresnet50d,timm:senet154"
)


@dataclass
class Stage:
    """A number of programs with a common time limit.

    Attributes:
        name: Name of the stage in the results.
        commands: Arguments of Python for each program; a program runs even if an earlier one failed.
        limit: Seconds that all programs may take together.
        results: JSON lines that the programs printed.
        problems: Descriptions of errors; empty if there were none.
    """

    name: str
    commands: list[list[str]]
    limit: float
    results: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def program(name: str, **options: object) -> list[str]:
    """Make arguments of Python, as from ``program("fold", batch_size=4, quick=True)``; None and False are left out."""
    given = {f"--{key.replace('_', '-')}": value for key, value in options.items() if value not in (None, False)}
    words = [word for key, value in given.items() for word in ([key] if value is True else [key, str(value)])]
    return [str(HERE / f"{name}.py"), *words]


def stages(args: argparse.Namespace, out: Path) -> list[Stage]:
    """Make all stages but the training, which takes the remaining time. The limits fit into nine minutes."""
    where, quick = {"device": args.device}, args.quick
    marked = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if "mark.cuda" in path.read_text()]
    junit = out / "tests.xml"
    pytest = ["-m", "pytest", "-m", "cuda", "-v", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={junit}"]
    if importlib.util.find_spec("xdist") and (os.cpu_count() or 1) >= 8:
        pytest += ["-n", "4"]
    # Batch and number of images, so that each side of a round takes a good part of a second.
    small, large = (8, 8) if quick else (64, 2048), (4, 4) if quick else (64, 512)
    table = {"model": "resnet29", "batch_sizes": 4, "no_stl10": True, "repeats": 2} if quick else {}
    loop = {"model": "resnet11", "images": 256, "repeats": 1} if quick else {"images": 12800, "repeats": 3}
    steps = {"model": "resnet11", "batch_size": 16, "repeats": 2} if quick else {"batch_size": 128, "steps": 10}
    fold = {"models": "timm:seresnet50,timm:mobilenetv3_small_100", "image_size": 64, "batch_size": 2, "repeats": 2}
    if not quick:
        fold = {"models": FOLDED, "batch_size": 64, "repeats": 20, "precisions": "float32,bfloat16"}
    pixels, rounds = (64, 2) if quick else (224, 5)
    capture = {"image_size": pixels, "batch_size": small[0], "images": small[1], "repeats": rounds, "time_only": True}
    gradcam = {"image_size": pixels, "batch_size": large[0], "images": large[1], "repeats": rounds}
    data = args.data if not (quick and args.data == "shapes") else "shapes:train=1000,test=200"
    return [
        Stage("tests", [[*pytest, *marked]], 100),
        Stage("table1", [program("table1", **table, **where)], 110),
        Stage("capture", [program("capture", **capture, **where)], 45),
        Stage("gradcam", [program("gradcam", **gradcam, **where)], 45),
        Stage(
            "training speed",
            [program("train_throughput", data=data, **loop, **where), program("asr_training", **steps, **where)],
            80,
        ),
        Stage("fold", [program("fold", **fold, **where)], 110),
    ]


def training(args: argparse.Namespace, out: Path, seconds: float) -> Stage:
    """Make the last stage, the training."""
    settings: dict[str, object] = {
        "data": args.data,
        "seconds": round(seconds - START),
        "device": args.device,
        "out": out,
    }
    if args.quick:
        data = "shapes:train=1000,test=200" if args.data == "shapes" else args.data
        settings |= {"data": data, "model": "resnet11", "epochs": 4, "images_per_epoch": 512, "capture": 100}
    return Stage("training", [program("captured_training", **settings)], seconds)


def run(stage: Stage, log: TextIO) -> None:
    """Run the programs of a stage and keep their output."""
    started = time.monotonic()
    for command in stage.commands:
        left = stage.limit - (time.monotonic() - started)
        log.write(f"\n$ python {' '.join(command)}\n")
        log.flush()
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=HERE.parent,
            start_new_session=True,
        )
        stopped = threading.Event()
        timer = threading.Timer(max(0, left), stop, [process, stopped])
        timer.start()
        try:
            tail = listen(process, stage, log)
            code = process.wait()
        finally:  # also where this program is interrupted: those of a session of their own would run on
            timer.cancel()
            if process.poll() is None:
                stop(process, stopped)
        if stopped.is_set():
            stage.problems.append(f"stopped after {stage.limit:.0f} s")
        elif code:
            stage.problems.append("\n".join([f"exit status {code}", *tail]))
    stage.seconds = round(time.monotonic() - started, 1)


def listen(process: subprocess.Popen[str], stage: Stage, log: TextIO) -> list[str]:
    """Keep JSON lines as results and all lines in the log; the last others are returned."""
    tail: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        log.write(line)
        log.flush()
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict):
            stage.results.append(found)
        else:
            tail = [*tail[-19:], line.rstrip()]
    return tail


def stop(process: subprocess.Popen[str], stopped: threading.Event) -> None:
    """End a program and the processes that it started."""
    stopped.set()
    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
        os.killpg(process.pid, signal.SIGKILL)


def read_tests(path: Path) -> dict[str, Any]:
    """Read the number of tests, and the messages of those that failed."""
    suite = next(ET.parse(path).iter("testsuite"))
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = {
        f"{case.get('classname')}::{case.get('name')}": (problem.get("message") or "")[:500]
        for case in suite.iter("testcase")
        for problem in case
        if problem.tag in {"failure", "error"}
    }
    path.unlink()
    return {**counts, "failed": failed}


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON into a file, completely or not at all."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description="Everything worth knowing of a GPU.")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of gpu.json and the pictures")
    parser.add_argument("--data", default="shapes", help="to train on, as folder:PATH; default: the built-in shapes")
    parser.add_argument("--minutes", type=float, default=9.0, help="that all of it may take")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu")
    parser.add_argument("--quick", action="store_true", help="small networks and few rounds, to try the script out")
    parser.add_argument("--missing", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"quick": args.quick, "minutes": args.minutes, "missing": args.missing, "stages": {}}

    def left() -> float:
        return 60 * args.minutes - (time.monotonic() - started) - RESERVE

    def finish(stage: Stage) -> None:
        if stage.name == "tests" and (out / "tests.xml").exists():
            stage.results.append(read_tests(out / "tests.xml"))
        content["stages"][stage.name] = {**vars(stage), "ok": not stage.problems}
        content["seconds"] = round(time.monotonic() - started, 1)
        write(out / "gpu.json", content)
        state = f"FAILED ({stage.problems[0].splitlines()[0]})" if stage.problems else "ok"
        print(f"{stage.name}: {state}, {len(stage.results)} results, {stage.seconds:.0f} s", flush=True)

    with (out / "log.txt").open("w") as log:
        machine = Stage("machine", [["-c", MACHINE, args.device]], 60)
        run(machine, log)
        finish(machine)
        if machine.problems:
            print(
                f"{machine.problems[0].splitlines()[-1]}\n`--device cpu --quick` tries the rest out.", file=sys.stderr
            )
            return 1
        content |= {"machine": machine.results[0]}
        for stage in stages(args, out):
            stage.limit = min(stage.limit * (1 if args.quick else args.minutes / 9), left())
            if stage.limit < LEAST:
                stage.problems.append("no time was left")
            else:
                run(stage, log)
            finish(stage)
        last = training(args, out, left())
        if last.limit < LEAST:
            last.problems.append("no time was left")
        else:
            run(last, log)
        finish(last)
    return int(any(not stage["ok"] for stage in content["stages"].values()))


if __name__ == "__main__":
    sys.exit(main())
