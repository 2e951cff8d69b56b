"""Time of inference with a fused network, compared with the plain backbone and the network with attention.

    python benchmarks/fused_inference.py [--model resnet83] [--kappas se,ie,srm,spa] [--batch-size 64] [--repeats 10]

The script prints one JSON line per attention module. The three networks take turns; a ratio is the median over the
rounds. ``fused_ratio`` is the time of the fused network divided by that of the plain one, ``gain`` is the time of the
network with attention divided by that of the fused one, and ``relative_difference`` compares the outputs before and
after fusing.
"""

import argparse
import json
import os
import platform
import statistics
import time

import torch
from torch import Tensor, nn

from stripe import asr
from stripe.attention import attention_factory
from stripe.models import CifarResNet
from stripe.models.resnet import depth_of


def timed(network: nn.Module, images: Tensor, passes: int) -> float:
    """Measure the seconds per forward pass."""
    if images.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.inference_mode():
        for _ in range(passes):
            network(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / passes


def measure(depth: int, kappa: str, images: Tensor, repeats: int, passes: int) -> dict[str, float]:
    unfused = CifarResNet(depth)
    asr.reparameterize(unfused, attention=kappa)
    fused = asr.fuse(unfused)
    difference = asr.compare(unfused, fused, images[:2].cpu(), torch.float32)
    networks = {
        "plain": CifarResNet(depth),
        "fused": fused,
        "attention": CifarResNet(depth, attention=attention_factory(kappa)),
    }
    networks = {n: net.eval().to(images.device, memory_format=torch.channels_last) for n, net in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for network in networks.values():
        timed(network, images, 3)  # warm up
    for _ in range(repeats):
        for name, network in networks.items():
            seconds[name].append(timed(network, images, passes))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        **{f"{name}_s": value for name, value in median.items()},
        "fused_ratio": ratio(seconds["fused"], seconds["plain"]),
        "gain": ratio(seconds["attention"], seconds["fused"]),
        "relative_difference": difference.relative,
    }


def ratio(values: list[float], others: list[float]) -> float:
    """Compute the median ratio over the rounds, in which both sides have the same load of the machine."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet83")
    parser.add_argument("--kappas", default="se,ie,srm,spa")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--passes", type=int, default=1, help="forward passes a repeat")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    depth = depth_of(args.model)
    assert depth is not None, "one of our own ResNets"
    device = torch.device(args.device)
    images = torch.randn(args.batch_size, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    for kappa in args.kappas.split(","):
        print(
            json.dumps(
                {
                    "benchmark": "fused_inference",
                    "model": args.model,
                    "kappa": kappa,
                    "batch_size": args.batch_size,
                    **measure(depth, kappa, images, args.repeats, args.passes),
                    "device": torch.cuda.get_device_name() if images.is_cuda else platform.processor() or "cpu",
                    "cores": os.cpu_count(),
                    "threads": torch.get_num_threads(),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
