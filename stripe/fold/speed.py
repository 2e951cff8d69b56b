"""What each attention module costs, and how fast the network is without so many of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stripe.adapter import Batch, call, ours, run
from stripe.fold.sites import Foldable, put_gates
from stripe.fold.weights import Landing
from stripe.models.surgery import Passage, replace_module
from stripe.modes import evaluating
from stripe.progress import track

__all__ = ["relative_speed", "relative_speeds", "seconds_of"]

ROUNDS = 5

LEAST = 0.02
"""Seconds that a network is measured for in each round, at least."""


def seconds_of(model: nn.Module, places: Sequence[Foldable], images: Batch) -> dict[str, float]:
    """Seconds that each place's module takes for a batch, on the maps that it is given.

    Args:
        model: The network with attention.
        places: The sites.
        images: The batch.

    Returns:
        Name of the site → seconds, of the fastest of some passes.
    """
    seconds: dict[str, float] = {}
    for place in places:  # one after the other, so that one map is held at a time
        module = model.get_submodule(place.module)
        handles: list[RemovableHandle] = []

        @ours
        def measure(module: nn.Module, args: tuple[Any, ...], name: str = place.site.name, own: Any = handles) -> None:
            # Here, and not afterwards: what the network runs the module in (autocast) is in force.
            own.pop().remove()
            seconds[name] = _seconds(lambda x: module(x, *args[1:]), args[0])

        handles.append(module.register_forward_pre_hook(measure))
        try:
            with evaluating(model), torch.no_grad():
                run(model, images)
        finally:
            for handle in handles:
                handle.remove()
    return seconds


def relative_speeds(
    model: nn.Module,
    places: Sequence[Foldable],
    values: Mapping[str, Tensor],
    landings: Mapping[str, Landing],
    images: Batch,
) -> list[float]:
    """How fast the network is with the first 0, 1, 2 … places folded, relative to none.

    All take turns in each round. The fastest pass of each counts: whatever else the machine does makes a pass slower,
    never faster. As folding only takes work away, the times are then fitted by ones that do not rise (least squares).

    Args:
        model: The network with attention. It is changed meanwhile, and as before afterwards.
        places: In the order in which they are folded.
        values: Name of the site → v, (C,).
        landings: Path of the module → where its constant goes; one that is left costs its multiplication.
        images: A batch.

    Returns:
        1 + len(places) numbers.
    """
    rounds = []
    for _ in track(range(ROUNDS), "measuring speed"):
        times = [_seconds(model, images)]
        old = []
        for place in places:
            old += put_gates(model, [place], values)
            if landings[place.module].where != "left":
                replace_module(model, place.module, Passage())
            times.append(_seconds(model, images))
        for place, module in zip(places, old, strict=True):
            replace_module(model, place.module, module)
        rounds.append(times)
    fitted = isotonic_regression(np.min(rounds, axis=0), increasing=False).x
    return [float(ratio) for ratio in fitted[0] / fitted]


def relative_speed(original: nn.Module, folded: nn.Module, images: Batch) -> float:
    """How many times as fast as the original the folded network is, both taking turns."""
    rounds = [(_seconds(original, images), _seconds(folded, images)) for _ in range(ROUNDS)]
    before, after = np.min(rounds, axis=0)
    return float(before / after)


def _seconds(module: Callable[..., Any], x: Tensor | Batch) -> float:
    """Of one forward pass: the fastest of three, of short ones as many as fill `LEAST`, after one that warms up."""
    times: list[float] = []
    with torch.no_grad():
        while len(times) < 4 or sum(times) < LEAST:
            own = x.clone() if isinstance(x, Tensor) else x.map(torch.clone).inputs  # it may be changed
            _wait(x)
            start = time.perf_counter()
            call(module, own)
            _wait(x)
            times.append(time.perf_counter() - start)
    return min(times[1:])


def _wait(x: Tensor | Batch) -> None:
    """For the device to be done."""
    tensor = x if isinstance(x, Tensor) else x.images
    if isinstance(tensor, Tensor) and tensor.device.type != "cpu":
        torch.accelerator.synchronize(tensor.device)
