"""Time and memory of a capture, compared with bare inference with the same loader.

    python benchmarks/capture.py [--model timm:seresnet50] [--image-size 224] [--images 128] [--repeats 5]
        [--device cpu] [--time-only]

The script prints one JSON line. For the time, bare inference and capture (channel values and input means, written to a
file) take turns; the ratio is that of the medians, and its interval the lowest and the highest of the rounds. For the
memory, the peak resident size of a process that captures 20,000 small images is compared with 2,000 images, on the CPU.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from machine import describe, interval, wait
from random_images import RandomImages
from torch import nn

from stripe.capture import CaptureSession
from stripe.models import build


def infer(model: nn.Module, images: RandomImages) -> None:
    with torch.inference_mode():
        for batch, _ in images:
            model(batch)
    wait(images.device)


def timed(model: nn.Module, images: RandomImages, repeats: int) -> tuple[list[float], list[float]]:
    bare, captured = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        CaptureSession(model, images, Path(folder) / "capture.h5", epochs=range(repeats + 1)) as session,
    ):
        infer(model, images)
        session.record(0)
        for epoch in range(1, repeats + 1):
            start = time.perf_counter()
            infer(model, images)
            bare.append(time.perf_counter() - start)
            start = time.perf_counter()
            session.record(epoch)
            captured.append(time.perf_counter() - start)
    return bare, captured


def peak_memory(num_images: int) -> int:
    """Measure the peak resident size in bytes of a new process that captures the given number of images."""
    done = subprocess.run([sys.executable, __file__, "--memory", str(num_images)], capture_output=True, check=True)
    return int(done.stdout)


def capture_and_report_memory(num_images: int) -> None:
    model = build("resnet11", attention="se").eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "capture.h5"
        with CaptureSession(model, RandomImages(num_images, 32, 64), path, epochs=[0]) as session:
            session.record(0)
    # Not ru_maxrss, which a child process inherits on Linux.
    status = Path("/proc/self/status").read_text()
    print(next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="timm:seresnet50")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--time-only", action="store_true", help="leave the memory out, which takes a while")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        capture_and_report_memory(args.memory)
        return
    device = torch.device(args.device)
    model = build(args.model).eval().to(device)
    images = RandomImages(args.images, args.image_size, args.batch_size, device)
    bare, captured = timed(model, images, args.repeats)
    found = {
        "benchmark": "capture",
        "model": args.model,
        "images": args.images,
        "image_size": args.image_size,
        "batch_size": args.batch_size,
        "repeats": args.repeats,
        "inference_s": statistics.median(bare),
        "capture_s": statistics.median(captured),
        "ratio": statistics.median(captured) / statistics.median(bare),
        "ratio_interval": interval([c / b for c, b in zip(captured, bare, strict=True)]),
    }
    if not args.time_only:
        few, many = peak_memory(2_000), peak_memory(20_000)
        found |= {
            "memory_2000_images_bytes": few,
            "memory_20000_images_bytes": many,
            "memory_ratio": many / few,
        }
    print(json.dumps({**found, **describe(device)}))


if __name__ == "__main__":
    main()
