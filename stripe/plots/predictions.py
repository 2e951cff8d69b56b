"""What detectors and segmenters find in held-out images, beside the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from stripe.errors import StripeError
from stripe.names import data_name
from stripe.plots.figure import StripeFigure, wrapped
from stripe.plots.kinds import kind
from stripe.plots.runs import Arrays, RunLike, by_network, read_arrays
from stripe.plots.select import NothingToDrawError
from stripe.plots.style import Width, printed_width, styled

__all__ = ["CheckpointPictures", "arrays_of", "pictures_of", "predictions"]

FILE = "predictions.npz"
"""Where a run keeps the pictures, see ``stripe.tasks.drawing``."""


@dataclass(frozen=True)
class CheckpointPictures:
    """Pictures that were made with a checkpoint, where there is no run that keeps some.

    Attributes:
        path: The checkpoint.
        settings: What is known of it, with the keys ``model`` and ``data``, and mostly ``attention`` and ``asr``.
        scale: At what scale it was trained, in words; empty where that is not known.
        arrays: ``truth_0``, ``found_0`` …, each uint8 (H, W, 3), and the number of the ``epoch``, where it is known.
        metrics: Nothing.
    """

    path: Path
    settings: dict[str, Any]
    scale: str
    arrays: dict[str, npt.NDArray[Any]]
    metrics: pd.DataFrame = field(default_factory=pd.DataFrame)


@kind("runs", "detection, segmentation: what networks find in test images", place=9)
def predictions(
    runs: Sequence[RunLike], *, images: int = 4, style: str = "paper", width: Width | None = None
) -> StripeFigure:
    """Draw a row for each test image: the truth, and beside it what each network finds after its last epoch.

    Detections have the name of their class and their score, and are drawn from a score of 0.5 on. Pixels have the
    colour of their class, whose name stands in their middle. Of runs that differ in nothing but the seed the first is
    drawn.

    Args:
        runs: ``stripe.training.Run`` of detectors or of segmenters, trained on the same data, or
            ``CheckpointPictures``.
        images: Number of images.
        style: Name of a style of the figure, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.

    Raises:
        NothingToDrawError: A run is of another task, or has not finished an epoch, or the runs are of different
            images.
        StripeError: A file is damaged.

    Example:
        >>> from stripe import plots
        >>> from stripe.training import Run
        >>> plots.predictions([Run(Path("runs/det"))])  # doctest: +SKIP
    """
    if images < 1:
        raise StripeError(f"images={images}: at least one image is drawn")
    groups = by_network(runs)
    if not groups:
        raise StripeError("predictions needs at least one run")
    firsts = {name: group[0] for name, group in groups.items()}
    arrays = [arrays_of(run) for run in firsts.values()]
    truth = pictures_of(arrays[0], "truth")
    for run, other in zip(firsts.values(), arrays, strict=True):
        own = pictures_of(other, "truth")
        if len(own) != len(truth) or any(a.shape != b.shape or (a != b).any() for a, b in zip(own, truth, strict=True)):
            raise NothingToDrawError(
                f"{run.path} shows other images or another truth: give runs of one task and one data set"
            )
    columns = [truth, *(pictures_of(each, "found") for each in arrays)]
    epochs = [int(each["epoch"]) if "epoch" in each else None for each in arrays]
    said = [name if epoch is None else f"{name}, epoch {epoch}" for name, epoch in zip(firsts, epochs, strict=True)]
    titles = ["truth", *said]
    count = min(images, len(truth))
    with styled(style) as settings:
        tall = [picture.shape[0] / picture.shape[1] for picture in truth[:count]]
        drawn = {
            "kind": "predictions",
            "runs": {name: str(run.path) for name, run in firsts.items()},
            "epochs": epochs,
        }
        side = (printed_width(width) or 2.4 * len(columns)) / len(columns)
        figure = StripeFigure(settings, 2.4 * len(columns), side * sum(tall) + 0.1 * count + 0.6, drawn, printed=width)
        grid = figure.subplots(count, len(columns), squeeze=False, height_ratios=tall)
        for column, title, pictures in zip(grid.T, titles, columns, strict=True):
            named = wrapped(title, 72 * side, 0.85 * settings["font.size"])
            column[0].set_title(named, fontsize="small", loc="center")
            for axes, picture in zip(column, pictures, strict=False):
                axes.imshow(picture, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
        data = dict.fromkeys(data_name(str(run.settings.get("data", ""))) for run in firsts.values())
        scales = dict.fromkeys(run.scale for run in firsts.values() if run.scale)
        notes = {
            "detection": "detections from a score of 0.5 on",
            "segmentation": "each class of pixels has its colour and name, the background none",
        }
        tasks = dict.fromkeys(str((run.settings.get("task") or {}).get("name")) for run in firsts.values())
        about = [notes[task] for task in tasks if task in notes]
        figure.caption(" · ".join([", ".join(data), *(["; ".join(scales)] if scales else []), *about]))
        figure.fit_height()
        return figure


def arrays_of(run: RunLike) -> Arrays:
    """The pictures of a run.

    Raises:
        NothingToDrawError: The run is of another task, or has not finished an epoch.
        StripeError: The file is damaged.
    """
    if isinstance(run, CheckpointPictures):
        return run.arrays
    task = (run.settings.get("task") or {}).get("name", "classification")
    if task not in ("detection", "segmentation"):
        raise NothingToDrawError(
            f"{run.path} was trained for {task}; predictions are drawn of detectors and segmenters."
        )
    arrays = read_arrays(run, FILE, ["epoch"])
    if len(pictures_of(arrays, "found")) != len(pictures_of(arrays, "truth")):
        raise StripeError(f"{run.path / FILE} is damaged: it has another number of findings than of images.")
    return arrays


def pictures_of(arrays: Arrays, name: str) -> list[npt.NDArray[Any]]:
    """The pictures of a name, ``truth`` or ``found``, in the order of the images, uint8 (H, W, 3)."""
    return [arrays[f"{name}_{number}"] for number in range(len(arrays)) if f"{name}_{number}" in arrays]
