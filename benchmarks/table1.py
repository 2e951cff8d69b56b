"""Table 1 of the paper: inference speed and parameters of ResNet164 with each attention module, and with ASR fused.

    python benchmarks/table1.py [--model resnet164] [--batch-sizes 128,1024] [--repeats 7] [--device cpu]

The script prints one JSON line for each network and setting. A setting is a data set (with its image size and classes),
a batch size, a precision and a way of starting the network:

- ``eager``: PyTorch starts one kernel after the other; the layout is PyTorch's default for float32 and channels-last
  for bfloat16;
- ``graph``: a CUDA graph starts all kernels at once, so that the time is that of the kernels without their launches.

All networks take turns in each round; on a GPU the time is measured by CUDA events. ``images_per_second`` is the median
of the rounds, ``interval`` the slowest and the fastest; ``relative_speed`` is the median over the rounds of the rate
divided by the plain network's, with its interval. ``paper`` is the speed in the paper's table, relative to its plain
network. Convolutions in float32 may use TF32, which is PyTorch's default.
"""

import argparse
import json
import math
import statistics
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import describe, interval, wait
from torch import Tensor, nn

from stripe.bench import Variant

RECIPE = Path(__file__).parent.parent / "figures" / "asr" / "table1.toml"
DATA = {"cifar100": (32, 100), "stl10": (96, 10)}  # image size, classes
SECONDS = 0.05  # that a network is measured for in each round, at least
MOST = 100  # passes a round


@dataclass(frozen=True)
class Setting:
    """Setting in which the networks are run.

    Attributes:
        data: Data set of the images, a key of ``DATA``.
        batch_size: Number of images per pass.
        precision: Precision, ``float32`` or ``bfloat16``.
        started: Way of starting the network, ``eager`` or ``graph``.
    """

    data: str
    batch_size: int
    precision: str
    started: str


def rows(model: str, data: str) -> dict[str, float | None]:
    """The paper's speed relative to the plain network by name, the plain one first; None if it has none."""
    recipe = tomllib.loads(RECIPE.read_text())
    names = [(column.get("metric"), column.get("data")) for column in recipe["columns"]]
    column = names.index(("speed", data))
    plain = next(row["paper"][column] for row in recipe["rows"] if row.get("mode") == "none")
    found: dict[str, float | None] = {}
    for row in recipe["rows"]:
        kappa = row.get("attention")
        suffix = "" if kappa is None else f"+asr({kappa})+fused" if row.get("mode") == "asr" else f"+{kappa}"
        found[model + suffix] = round(row["paper"][column] / plain, 3)
    return {**found, f"{model}+eca": None}


def settings(device: torch.device, batch_sizes: list[int], stl10: bool) -> Iterator[Setting]:
    """Yield the settings, first the paper's batch; last the graphs, as a failed recording may disturb what follows."""
    data = [("cifar100", size) for size in batch_sizes] + ([("stl10", batch_sizes[0])] if stl10 else [])
    for started in ("eager", "graph") if device.type == "cuda" else ("eager",):
        for name, batch_size in data:
            for precision in ("float32", "bfloat16") if device.type == "cuda" else ("float32",):
                yield Setting(name, batch_size, precision, started)


def forward_of(network: nn.Module, images: Tensor, graph: bool) -> Callable[[], object]:
    """Return a function that runs one pass, after a warm-up."""

    def forward() -> Tensor:
        with torch.inference_mode():
            result: Tensor = network(images)
        return result

    if not graph:
        for _ in range(3):
            forward()
        return forward
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward()
    torch.cuda.current_stream().wait_stream(stream)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        forward()

    def replay(_kept: tuple[object, ...] = (network, images)) -> None:
        """The graph knows the addresses of weights and images alone; whoever holds it must hold these, too."""
        recorded.replay()

    return replay


def seconds(forward: Callable[[], object], passes: int, device: torch.device) -> float:
    """Measure the seconds per pass over a number of passes."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(passes):
            forward()
        return (time.perf_counter() - start) / passes
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    wait(device)
    begin.record()
    for _ in range(passes):
        forward()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / passes


def measure(model: str, setting: Setting, repeats: int, device: torch.device) -> Iterator[dict[str, object]]:
    """Yield one row per network, first the plain one."""
    size, classes = DATA[setting.data]
    layout = torch.channels_last if setting.precision == "bfloat16" else torch.contiguous_format
    dtype = getattr(torch, setting.precision)
    images = torch.randn(setting.batch_size, 3, size, size, device=device, dtype=dtype).to(memory_format=layout)
    passes: dict[str, tuple[Callable[[], object], int]] = {}
    about: dict[str, dict[str, object]] = {}
    for name, paper in rows(model, setting.data).items():
        network = Variant.parse(name).build(classes).requires_grad_(False)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        about[name] = {"model": name, "parameters": parameters, "paper": paper}
        try:
            forward = forward_of(network.to(device, dtype).to(memory_format=layout), images, setting.started == "graph")
            once = seconds(forward, 1, device)
        except RuntimeError as error:  # an operation that cannot be recorded, or has no kernel of this precision
            about[name]["failed"] = str(error).splitlines()[0]
            continue
        passes[name] = forward, min(MOST, math.ceil(SECONDS / once))
    rounds = [{name: seconds(*passes[name], device) for name in passes} for _ in range(repeats)]
    for name, row in about.items():
        if name in passes:
            rates = [setting.batch_size / times[name] for times in rounds]
            row |= {"images_per_second": statistics.median(rates), "interval": interval(rates)}
            if model in passes:
                relative = [times[model] / times[name] for times in rounds]
                row |= {"relative_speed": statistics.median(relative), "relative_interval": interval(relative)}
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet164")
    parser.add_argument("--batch-sizes", default="128,1024", help="for CIFAR100; STL10 takes the first")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-stl10", action="store_true", help="measure CIFAR100's images only")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(args.device)
    batch_sizes = [int(size) for size in args.batch_sizes.split(",")]
    for setting in settings(device, batch_sizes, not args.no_stl10):
        for row in measure(args.model, setting, args.repeats, device):
            about = {"benchmark": "table1", **vars(setting), "repeats": args.repeats, "tf32": tf32(device)}
            print(json.dumps({**about, **row, **describe(device)}), flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def tf32(device: torch.device) -> bool:
    """Whether convolutions of float32 are computed in TF32."""
    return device.type == "cuda" and torch.backends.cudnn.allow_tf32


if __name__ == "__main__":
    main()
