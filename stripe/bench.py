"""Speed and size of networks: the cost of attention before and after fusing (paper, table 1 and figure 3).

The speed of a machine drifts, as it warms up and runs other programs. Therefore each round measures every network in
turn, and the speed *relative* to the first network is computed round by round.

Example:
    >>> from stripe.bench import measure
    >>> table = measure(["resnet164", "resnet164+se", "resnet164+asr(se)+fused"], batch_size=128)  # doctest: +SKIP
    >>> table[["model", "parameters", "images_per_second", "relative_speed"]]  # doctest: +SKIP
"""

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stripe.adapter import batch_of, isolated, run
from stripe.data import ImageSize, parse_size, sides, write_size
from stripe.devices import describe_machine, pick_device
from stripe.errors import StripeError
from stripe.models import input_channels, normalizes_itself
from stripe.names import data_name, run_name
from stripe.plots.runs import by_network, selected_by
from stripe.progress import track
from stripe.training import Run
from stripe.variant import Variant

__all__ = ["Variant", "add_accuracy", "describe_machine", "measure", "read_table"]

logger = logging.getLogger(__name__)

SECONDS = 0.2
"""Shortest time in seconds for which a network runs in each round; its passes are repeated to fill it."""


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
    """Measure networks in evaluation mode, with float32 values in channels-last order.

    Networks that are not checkpoints have random weights, the same each time. Images are noise. What a detector
    computes depends on how many objects it finds in it, so that FLOPs and speeds of two detectors differ by that, too.

    Args:
        variants: Names of the networks, as for ``Variant.parse``. Speeds are also given relative to the first.
        image_size: Height and width in pixels, or one number if they are equal; by default the size that the networks
            are made for; detectors and segmenters, which take any, are measured at the size of the others.
        batch_size: Number of images per forward pass.
        num_classes: Number of classes, as for ``stripe.models.build``.
        device: Device to measure on, for example ``cuda:0``; by default a GPU if there is one.
        repeats: Number of rounds.

    Returns:
        A table with one row per network and the columns ``model`` (the whole name), ``backbone``, ``attention``,
        ``asr`` and ``fused``; ``parameters``, including those of ASR that is not fused; ``flops`` per image, which are
        the multiplications and additions of convolutions and matrix products, the only ones that torch counts;
        ``images_per_second``, the median over the rounds, with ``lower_quartile`` and ``upper_quartile``; and
        ``relative_speed``, the median over the rounds of the rate divided by that of the first network. Where there are
        detectors, ``detections`` is the number of objects that each finds in an image of noise, NaN of other networks.
        The table's ``attrs`` hold the machine, image size, batch size, classes and repeats.

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
        with torch.random.fork_rng([]):  # what a detector finds depends on weights and images
            torch.default_generator.manual_seed(0)  # not those of other devices, which would stay so
            networks = [_placed(variant.build(num_classes, size), where) for variant in chosen]
            noise = {form: _noise(*form, batch_size, size, where) for form in dict.fromkeys(map(_form, networks))}
        images = [noise[_form(network)] for network in networks]
        flops = [_flops(network, own[:1]) for network, own in zip(networks, images, strict=True)]
        found = [_detections(network, own) for network, own in zip(networks, images, strict=True)]
        seconds = _take_turns([_passes(network, own) for network, own in zip(networks, images, strict=True)], repeats)
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
    if not np.isnan(found).all():
        table["detections"] = found
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
    """The image size that all the backbones are made for; detectors and segmenters take any."""
    sizes = {variant.backbone: variant.image_size() for variant in variants}
    known = set(sizes.values())
    if known == {None}:
        names = ", ".join(sizes)
        raise StripeError(
            f"nothing says what size the images of {names} have; give image_size=, such as image_size=128"
        )
    if None in known and all(variant.takes_any_size() for variant in variants if sizes[variant.backbone] is None):
        known.discard(None)
    if len(known) > 1 or None in known:
        said = ", ".join(f"{name} {write_size(size) if size else 'unknown'}" for name, size in sizes.items())
        raise StripeError(f"the networks are not made for images of one size ({said}); give image_size=")
    size = known.pop()
    assert size is not None
    return size


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    # Torch's counter of FLOPs fails on ASR's ψ if gradients are enabled.
    return network.requires_grad_(False).to(device).to(memory_format=torch.channels_last)


def _form(network: nn.Module) -> tuple[int, bool]:
    """The channels of a network's images, and whether they are in 0..1."""
    return input_channels(network) or 3, normalizes_itself(network)


def _noise(channels: int, plain: bool, batch_size: int, size: ImageSize, device: torch.device) -> Tensor:
    """Random images (N, channels, H, W): normalised ones, or plain ones, in 0..1."""
    images = (torch.rand if plain else torch.randn)(batch_size, channels, *sides(size))
    return images.to(device).contiguous(memory_format=torch.channels_last)


def _detections(network: nn.Module, images: Tensor) -> float:
    """How many objects a detector finds in an image, on average; NaN of another network."""
    if not normalizes_itself(network):
        return math.nan
    with torch.inference_mode():
        return sum(len(found["boxes"]) for found in network(images)) / len(images)


def _flops(network: nn.Module, image: Tensor) -> int:
    """The FLOPs of one image; a multiplication with an addition counts as two."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run(network, batch_of(image, network))
    return int(counter.get_total_flops())


def _passes(network: nn.Module, images: Tensor) -> Callable[[], None]:
    def forward() -> None:
        with torch.inference_mode():
            network(images)

    return forward


def _take_turns(passes: Sequence[Callable[[], None]], repeats: int) -> npt.NDArray[np.float64]:
    """Measure seconds per pass in rounds over all networks; return an array (repeats, networks)."""
    # This import loads a C++ builder, which warns if there is a CUDA compiler and no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    # Torch's timer waits for the device, and runs twice before it measures. Its default is one thread.
    threads = torch.get_num_threads()
    timers = [Timer("forward()", globals={"forward": forward}, num_threads=threads) for forward in passes]
    numbers = [math.ceil(SECONDS / timer.timeit(1).mean) for timer in timers]
    logger.info("passes a round: %s", numbers)
    rounds = track(range(repeats), "measuring")
    return np.array([[timer.timeit(n).mean for timer, n in zip(timers, numbers, strict=True)] for _ in rounds])


_SELECTED = {
    "val": "accuracy on the test split at the best epoch by held-out training images",
    "test": "accuracy on the test split at the best epoch by that split itself",
}


def add_accuracy(table: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """Add the test accuracies of trained networks to a table of speeds.

    A fused network has the accuracy of the run that trained it, as fusing does not change its outputs.

    Args:
        table: Table from ``measure``; it is not changed.
        runs: Runs of networks in the table. Runs of one network may differ in the seed alone.

    Returns:
        The table with the further columns ``accuracy``, in per cent at the best epoch, the mean over seeds;
        ``accuracy_std``, its standard deviation (n − 1), NaN with one seed; ``last_accuracy``, the mean after the last
        epoch; and ``runs``, the number of runs. A network without runs has NaN and 0. ``attrs["accuracy_of"]`` holds
        the data, the choice of the best epoch, and the scale.

    Raises:
        StripeError: A run is of a network that is not in the table or has not finished an epoch, or the runs cannot be
            compared, as they are on different data or train one network in different ways.
    """
    measured = [Variant(row.backbone, row.attention, row.asr) for row in table.itertuples()]  # type: ignore[arg-type]
    data = dict.fromkeys(str(run.settings["data"]) for run in runs)
    if len(data) > 1:
        raise StripeError(f"runs on different data ({', '.join(data)}) have accuracies that cannot be compared")
    found: dict[Variant, list[Run]] = {}
    for group in by_network(runs).values():
        variant, first = Variant.parse(run_name(group[0].settings)), group[0].path
        if variant in found:
            raise StripeError(f"{first} trained {variant} in another way than the runs before; give one way only")
        if variant not in measured:
            raise StripeError(f"{first} trained {variant}, which is not in the table; measure that as well")
        found[variant] = group
    if other := [run for run in runs if run.scoring.best != "accuracy"]:
        raise StripeError(f"{other[0].path} is scored by {other[0].scoring.best}; only accuracies are added to speeds")
    best = {variant: [run.best.test_accuracy for run in group] for variant, group in found.items()}
    last = {variant: [run.history[-1].test_accuracy for run in group] for variant, group in found.items()}
    result = table.assign(
        accuracy=[np.mean(best[v]) if v in found else np.nan for v in measured],
        accuracy_std=[np.std(best[v], ddof=1) if len(found.get(v, ())) > 1 else np.nan for v in measured],
        last_accuracy=[np.mean(last[v]) if v in found else np.nan for v in measured],
        runs=[len(found.get(v, ())) for v in measured],
    )
    selected = dict.fromkeys(_SELECTED[selected_by(run)] for run in runs)
    scales = dict.fromkeys(run.scale for run in runs)
    result.attrs = {**table.attrs, "accuracy_of": [*map(data_name, data), *selected, *scales]}
    return result


# For each table, its columns and the command that makes it.
TABLES = {
    "speeds": (
        {"model", "backbone", "attention", "asr", "fused", "parameters", "images_per_second", "relative_speed"},
        "stripe bench -o table.csv",
    ),
    "accuracy against speed": (
        {"sites", "uncertainty", "error", "relative_speed"},  # and accuracy, agreement, or another measure
        "stripe fold --frontier table.csv",
    ),
}


def read_table(path: str | Path, what: str = "speeds") -> pd.DataFrame:
    """Read a table of speeds, or another one, that ``stripe.analysis.save_table`` wrote.

    Args:
        path: Path of the ``.csv`` (whose provenance is in ``<path>.json``), ``.parquet`` or ``.json`` file.
        what: Content of the table, a key of ``TABLES``.

    Returns:
        The table with its provenance in ``attrs``, which is empty if the second file of a ``.csv`` is missing.

    Raises:
        StripeError: There is no such file, or it is not a table of this content.
    """
    path = Path(path)
    try:
        table, made_by = _READERS[path.suffix](path) if path.suffix in _READERS else (pd.DataFrame(), {})
    except OSError as error:
        raise StripeError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:  # pandas' and json's errors are ValueErrors
        raise StripeError(f"{path} is no table, or is damaged ({str(error).partition(chr(10))[0]})") from error
    columns, command = TABLES[what]
    if missing := columns - set(table.columns):
        raise StripeError(f"{path} is no table of {what} (it has no {sorted(missing)[0]}); `{command}` makes one")
    table.attrs.update(made_by)
    return table


def _csv(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    sidecar = path.with_name(f"{path.name}.json")
    return pd.read_csv(path), dict(json.loads(sidecar.read_text())) if sidecar.exists() else {}


def _parquet(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    table = pd.read_parquet(path)
    return table, {str(key): value for key, value in table.attrs.items()}


def _json(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    content = json.loads(path.read_text())
    return pd.DataFrame(content["metrics"]), dict(content["provenance"])


_READERS = {".csv": _csv, ".parquet": _parquet, ".json": _json}
