"""Parameters, FLOPs and throughput of several networks, side by side.

Speeds drift: a processor warms up, neighbours come and go. So the networks take turns, each round measures every one of
them, and how fast one is *relative* to the first is judged round by round.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stripe.adapter import batch_of, isolated, run
from stripe.bench.machine import describe_machine
from stripe.bench.variant import Variant
from stripe.data import ImageSize, parse_size, sides, write_size
from stripe.devices import pick_device
from stripe.errors import StripeError
from stripe.models import input_channels
from stripe.progress import track

__all__ = ["measure"]

logger = logging.getLogger(__name__)

SECONDS = 0.2
"""How long a network runs in each round at least; its passes are repeated to fill it."""


@isolated()
def measure(
    variants: Sequence[Variant | str],
    *,
    image_size: ImageSize | None = None,
    batch_size: int = 128,
    num_classes: int | None = None,
    device: str | torch.device | None = None,
    repeats: int = 10,
) -> pd.DataFrame:
    """Measure networks in evaluation mode, float32, channels-last; those that are no checkpoints with random weights.

    Args:
        variants: Which, as for `Variant.parse`. Speeds are also given relative to the first.
        image_size: Height and width in pixels, one number where they are equal. None: what the networks are made for.
        batch_size: Images a pass.
        num_classes: As for `stripe.models.build`.
        device: Where; None: a GPU where there is one.
        repeats: Rounds.

    Returns:
        A row a network, with ``model`` (its whole name), ``backbone``, ``attention``, ``asr``, ``fused``;
        ``parameters``, as the network is (ASR that is not fused has its own); ``flops``, of one image: multiplications
        and additions of convolutions and matrix products, the only ones that torch counts;
        ``images_per_second``, the median over the rounds, and its ``lower_quartile`` and ``upper_quartile``;
        ``relative_speed``, the median over the rounds of the rate divided by that of the first network.
        ``attrs`` say the machine, image size, batch size, classes and repeats.

    Raises:
        StripeError: A name is unknown, or the networks do not fit into the device's memory.

    Example:
        >>> measure(["resnet11", "resnet11+se"], batch_size=2, repeats=1)["parameters"].tolist()
        [127642, 138870]
    """
    chosen = [Variant.parse(variant) if isinstance(variant, str) else variant for variant in variants]
    _refuse(chosen, batch_size, repeats)
    where = pick_device(str(device) if device is not None else None)
    size = _common_size(chosen) if image_size is None else parse_size(image_size)
    try:
        networks = [_placed(variant.build(num_classes), where) for variant in chosen]
        taken = [input_channels(network) or 3 for network in networks]
        images = {
            channels: torch.randn(batch_size, channels, *sides(size), device=where).contiguous(
                memory_format=torch.channels_last
            )
            for channels in dict.fromkeys(taken)
        }
        flops = [_flops(network, images[channels][:1]) for network, channels in zip(networks, taken, strict=True)]
        passes = [_passes(network, images[channels]) for network, channels in zip(networks, taken, strict=True)]
        seconds = _take_turns(passes, repeats)
    except torch.OutOfMemoryError as error:
        raise StripeError(f"{batch_size} images a pass do not fit into the memory of {where}; take fewer") from error
    rates = batch_size / seconds
    lower, median, upper = np.quantile(rates, [0.25, 0.5, 0.75], axis=0)
    table = pd.DataFrame(
        {
            "model": [str(variant) for variant in chosen],
            **{field: [asdict(variant)[field] for variant in chosen] for field in asdict(chosen[0])},
            "parameters": [sum(parameter.numel() for parameter in network.parameters()) for network in networks],
            "flops": flops,
            "images_per_second": median,
            "lower_quartile": lower,
            "upper_quartile": upper,
            "relative_speed": np.median(rates / rates[:, :1], axis=0),
        }
    )
    table.attrs.update(
        {**describe_machine(where), "precision": "float32", "image_size": write_size(size), "batch_size": batch_size}
        | {"num_classes": num_classes, "repeats": repeats}
    )
    return table


def _refuse(variants: Sequence[Variant], batch_size: int, repeats: int) -> None:
    if not variants:
        raise StripeError("no network is named that could be measured")
    twice = sorted({str(variant) for variant in variants if variants.count(variant) > 1})
    if twice:
        raise StripeError(f"{', '.join(twice)} is named twice")
    if batch_size < 1 or repeats < 1:
        raise StripeError(f"batch size {batch_size} and {repeats} repeats: both must be at least 1")


def _common_size(variants: Sequence[Variant]) -> ImageSize:
    """The size that all the backbones are made for."""
    sizes = {variant.backbone: variant.image_size() for variant in variants}
    known = set(sizes.values())
    if len(known) > 1 or None in known:
        said = ", ".join(f"{name} {write_size(size) if size else 'unknown'}" for name, size in sizes.items())
        raise StripeError(f"the networks are not made for images of one size ({said}); say it with --image-size")
    size = known.pop()
    assert size is not None
    return size


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    # Torch's counter of FLOPs trips over ASR's ψ where gradients are possible.
    return network.requires_grad_(False).to(device).to(memory_format=torch.channels_last)


def _flops(network: nn.Module, image: Tensor) -> int:
    """Of one image; a multiplication with an addition counts as two."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run(network, batch_of(image, network))
    return int(counter.get_total_flops())


def _passes(network: nn.Module, images: Tensor) -> Callable[[], None]:
    def forward() -> None:
        with torch.inference_mode():
            network(images)

    return forward


def _take_turns(passes: Sequence[Callable[[], None]], repeats: int) -> npt.NDArray[np.float64]:
    """Seconds a pass, (repeats, networks)."""
    # It brings a C++ builder, which would complain where there is a CUDA compiler and no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    # Torch's timer waits for the device, and runs twice before it measures; it would take one thread if not told.
    threads = torch.get_num_threads()
    timers = [Timer("forward()", globals={"forward": forward}, num_threads=threads) for forward in passes]
    numbers = [math.ceil(SECONDS / timer.timeit(1).mean) for timer in timers]
    logger.info("passes a round: %s", numbers)
    rounds = track(range(repeats), "measuring")
    return np.array([[timer.timeit(n).mean for timer, n in zip(timers, numbers, strict=True)] for _ in rounds])
