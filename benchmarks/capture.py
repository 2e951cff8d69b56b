"""Time and memory of a capture, against bare inference with the same loader.

    python benchmarks/capture.py [--model timm:seresnet50] [--image-size 224] [--images 128] [--repeats 5]

Prints one JSON line. Time: bare inference and capture (channel values and input means, written to a file) take turns;
the ratio is that of the medians. Memory: peak resident size of a process that captures 20,000 small images, against
2,000.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from stripe.capture import CaptureSession
from stripe.models import build


class Images:
    """The same random images at each pass, made as they are asked for."""

    def __init__(self, num_images: int, image_size: int, batch_size: int) -> None:
        self.num_images, self.image_size, self.batch_size = num_images, image_size, batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, self.num_images, self.batch_size):
            size = min(self.batch_size, self.num_images - start)
            yield torch.rand(size, 3, self.image_size, self.image_size, generator=generator), torch.zeros(size).long()


def infer(model: nn.Module, images: Images) -> None:
    with torch.inference_mode():
        for batch, _ in images:
            model(batch)


def timed(model: nn.Module, images: Images, repeats: int) -> tuple[list[float], list[float]]:
    bare, captured = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        CaptureSession(model, images, Path(folder) / "capture.h5", epochs=range(repeats)) as session,
    ):
        infer(model, images)
        for epoch in range(repeats):
            start = time.perf_counter()
            infer(model, images)
            bare.append(time.perf_counter() - start)
            start = time.perf_counter()
            session.record(epoch)
            captured.append(time.perf_counter() - start)
    return bare, captured


def peak_memory(num_images: int) -> int:
    """Peak resident bytes of a fresh process that captures so many images."""
    done = subprocess.run([sys.executable, __file__, "--memory", str(num_images)], capture_output=True, check=True)
    return int(done.stdout)


def capture_and_report_memory(num_images: int) -> None:
    model = build("resnet11", attention="se").eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "capture.h5"
        with CaptureSession(model, Images(num_images, 32, 64), path, epochs=[0]) as session:
            session.record(0)
    # Not ru_maxrss: Linux hands that of the parent process on to the child.
    status = Path("/proc/self/status").read_text()
    print(next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="timm:seresnet50")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        capture_and_report_memory(args.memory)
        return
    model = build(args.model).eval()
    bare, captured = timed(model, Images(args.images, args.image_size, args.batch_size), args.repeats)
    few, many = peak_memory(2_000), peak_memory(20_000)
    print(
        json.dumps(
            {
                "benchmark": "capture",
                "model": args.model,
                "images": args.images,
                "image_size": args.image_size,
                "inference_s": statistics.median(bare),
                "capture_s": statistics.median(captured),
                "ratio": statistics.median(captured) / statistics.median(bare),
                "memory_2000_images_bytes": few,
                "memory_20000_images_bytes": many,
                "memory_ratio": many / few,
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "processor": platform.processor() or platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
