"""Time of all metrics of a capture, compared with reading the capture with h5py.

The script prints one JSON line. The three sides take turns, and the best turn of each counts, with the file in the page
cache:

- ``ours_s``: seconds of ``stripe.analysis.metrics``, from opening the file to the table;
- ``h5py_s``: seconds for reading all values with h5py, epoch by epoch in bounded memory; ``ratio`` compares with this;
- ``h5py_whole_s``: seconds for reading each site in one piece; ``ratio_whole`` compares with this.

``ours_cpu_s`` is the time of all processors together, which tells more than ``ours_s`` on a busy machine. ``peak_mb``
is the growth of the resident memory while ours runs.

    python benchmarks/analysis.py [--gigabytes 2] [--repeat 5]
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import psutil

from stripe.analysis import metrics
from stripe.capture import Site, open_capture
from stripe.capture.layout import Epoch, Layout, create

SITES, EPOCHS, CHANNELS = 4, 25, 1024


def make_capture(path: Path, gigabytes: float) -> int:
    """Write a capture whose attention is stripes with some noise; return the size of its values in bytes."""
    images = round(gigabytes * 1e9 / (SITES * EPOCHS * CHANNELS * 4))
    sites = tuple(
        Site(
            name=f"layer{i}.se",
            kind="channel",
            owner="SE",
            dims=("channel",),
            shape=(CHANNELS,),
            map_shape=(CHANNELS, 7, 7),
            input_dependent=True,
            module=f"layer{i}.se",
            call=0,
            product=0,
            operand=1,
            products=1,
        )
        for i in range(SITES)
    )
    layout = Layout(
        epochs=tuple(Epoch(number) for number in range(EPOCHS)),
        num_images=images,
        paths=(),
        thumbnail_shape=(1, 1, 3),
        sites=sites,
        record_input=False,
        dtype="float32",
    )
    create(path, layout)
    generator = np.random.default_rng(0)
    with h5py.File(path, "r+") as file:
        for site in sites:
            stripes = generator.random(CHANNELS, dtype=np.float32)
            for epoch in range(EPOCHS):
                noise = generator.standard_normal((images, CHANNELS), dtype=np.float32)
                file[f"sites/{site.name}/attention"][epoch] = stripes + np.float32(0.02) * noise
        file["complete"][:] = 1
    return layout.nbytes


def read_epochs(path: Path) -> None:
    with h5py.File(path, "r") as file:
        for site in file["sites"].values():
            for epoch in range(EPOCHS):
                site["attention"][epoch]


def read_whole(path: Path) -> None:
    with h5py.File(path, "r") as file:
        for site in file["sites"].values():
            site["attention"][:]


def analyze(path: Path) -> None:
    metrics(open_capture(path))


def seconds(function: Callable[[Path], None], path: Path) -> tuple[float, float]:
    """Measure the elapsed time and the time of all processors together, in seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    function(path)
    return time.perf_counter() - start, time.process_time() - cpu


def peak_growth(function: Callable[[Path], None], path: Path) -> int:
    """Measure the largest growth of the resident memory in bytes, sampled every millisecond."""
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    function(path)
    done.set()
    watcher.join()
    return peak - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the capture")
    parser.add_argument("--repeat", type=int, default=5, help="turns of each side")
    parser.add_argument("--dir", type=Path, help="where to put the capture meanwhile")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        path = Path(folder) / "capture.h5"
        size = make_capture(path, options.gigabytes)
        peak = peak_growth(analyze, path)  # also the warm-up
        sides = (analyze, read_epochs, read_whole)
        turns = [[seconds(side, path) for side in sides] for _ in range(options.repeat)]
    (ours, cpu), (epochs, _), (whole, _) = (map(min, zip(*side, strict=True)) for side in zip(*turns, strict=True))
    result = {
        "benchmark": "analysis",
        "gigabytes": round(size / 1e9, 3),
        "ours_s": round(ours, 3),
        "ours_cpu_s": round(cpu, 3),
        "h5py_s": round(epochs, 3),
        "ratio": round(ours / epochs, 2),
        "target": 2.0,
        "h5py_whole_s": round(whole, 3),
        "ratio_whole": round(ours / whole, 2),
        "peak_mb": round(peak / 1e6),
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
