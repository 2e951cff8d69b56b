"""Time of a training step with ASR, compared with the plain network.

    python benchmarks/asr_training.py [--model resnet83] [--kappa se] [--batch-size 64] [--repeats 10] [--device cpu]

The script prints one JSON line. Four networks with the same backbone take turns: the plain one; one with our ASR, which
scales the weights; one with a straightforward ASR, which multiplies the map by the constant; and one with attention. A
step is the forward pass, the backward pass and SGD. A ratio is the median over the rounds, its interval the lowest and
the highest.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from machine import describe, interval, wait
from torch import Tensor, nn

from stripe import asr
from stripe.attention import attention_factory
from stripe.models import CifarResNet
from stripe.models.resnet import depth_of


class Multiplied(nn.Module):
    """The straightforward ASR, which multiplies the map by v(ψ, θ)."""

    def __init__(self, attention: nn.Module, channels: int) -> None:
        super().__init__()
        self.attention = attention
        self.psi = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply maps (N, C, H, W) by the constant."""
        return x * self.attention.constant(self.psi)[:, None, None]


def networks(model: str, kappa: str) -> dict[str, nn.Module]:
    depth = depth_of(model)
    assert depth is not None, "one of our own ResNets"
    with_asr = CifarResNet(depth)
    asr.reparameterize(with_asr, attention=kappa)
    return {
        "plain": CifarResNet(depth),
        "asr": with_asr,
        "straightforward_asr": CifarResNet(depth, attention=lambda c: Multiplied(attention_factory(kappa)(c), c)),
        "attention": CifarResNet(depth, attention=attention_factory(kappa)),
    }


def stepper(network: nn.Module, images: Tensor, labels: Tensor, compiled: bool) -> Callable[[], None]:
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    forward = torch.compile(network) if compiled else network

    def step() -> None:
        with asr.cached():
            loss = F.cross_entropy(forward(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def timed(step: Callable[[], None], steps: int, device: torch.device) -> float:
    """Measure the seconds per step."""
    wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait(device)
    return (time.perf_counter() - start) / steps


def ratios(values: list[float], others: list[float]) -> list[float]:
    """Compute the ratio in each round, in which both sides have the same load of the machine."""
    return [value / other for value, other in zip(values, others, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet83")
    parser.add_argument("--kappa", default="se")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1, help="training steps a repeat")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="compile every network with torch.compile")
    args = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(args.device)
    images = torch.randn(args.batch_size, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (args.batch_size,), device=device)
    steps = {
        name: stepper(network.to(device, memory_format=torch.channels_last), images, labels, args.compile)
        for name, network in networks(args.model, args.kappa).items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        timed(step, 3, device)  # warm up
    for _ in range(args.repeats):
        for name, step in steps.items():
            seconds[name].append(timed(step, args.steps, device))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    to_plain = {name: ratios(values, seconds["plain"]) for name, values in seconds.items() if name != "plain"}
    print(
        json.dumps(
            {
                "benchmark": "asr_training",
                "model": args.model,
                "kappa": args.kappa,
                "batch_size": args.batch_size,
                **{f"{name}_s": value for name, value in median.items()},
                **{f"{name}_ratio": statistics.median(values) for name, values in to_plain.items()},
                **{f"{name}_ratio_interval": interval(values) for name, values in to_plain.items()},
                "repeats": args.repeats,
                "steps": args.steps,
                "compiled": args.compile,
                **describe(device),
            }
        )
    )


if __name__ == "__main__":
    main()
