"""Pictures of what a network finds in held-out images, beside the truth."""

import colorsys
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from stripe.adapter import Batch, batch_of
from stripe.data import Data
from stripe.devices import device_of
from stripe.files import write_whole

__all__ = ["COUNT", "FILE", "draw_classes", "draw_objects", "pictures_of", "write_predictions"]

FILE = "predictions.npz"
"""Where a run keeps the pictures, ``truth_0``, ``found_0`` …, each uint8 (H, W, 3), and the number of the ``epoch``."""

COUNT = 6
"""How many of the test images are drawn, the first ones."""

SIDE = 320
"""Pixels of the short side that small images are enlarged to, so that the names of the classes can be read."""

LEAST_SCORE = 0.5
"""Detections with a lower score are not drawn."""

DrawPair = Callable[[Tensor, Mapping[str, Tensor], Any], tuple[Tensor, Tensor]]
"""Image uint8 (3, H, W), its target, and the output for it → pictures of the truth and of what was found."""


def write_predictions(folder: Path, epoch: int, pictures: Mapping[str, npt.NDArray[np.uint8]]) -> None:
    """Write the pictures of a run, in the place of those of the epoch before.

    Args:
        folder: The run directory.
        epoch: Which epoch.
        pictures: From ``pictures_of``.
    """
    content = io.BytesIO()
    np.savez_compressed(content, epoch=np.array(epoch), **pictures)  # type: ignore[arg-type]
    write_whole(folder / FILE, content.getvalue())


def pictures_of(
    model: nn.Module,
    data: Data,
    run: Callable[[Batch, Any], Sequence[Any]],
    draw: DrawPair,
    count: int = COUNT,
) -> dict[str, npt.NDArray[np.uint8]]:
    """Draw the truth and what a network finds.

    Args:
        model: The network, in evaluation mode.
        data: Its first test images are drawn.
        run: A batch and its targets → the outputs for its images.
        draw: Makes the two pictures of an image.
        count: How many images, if there are as many.

    Returns:
        ``truth_0``, ``found_0`` …, each uint8 (H, W, 3).
    """
    device = device_of(model)
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    chosen = np.arange(min(count, len(data.test)))
    for images, targets in data.test.loader(len(chosen), indices=chosen, workers=0):
        inputs = data.normalize([image.to(device) for image in images])
        there = [{name: value.to(device) for name, value in target.items()} for target in targets]
        with torch.no_grad():
            outputs = run(batch_of((inputs, there)), there)
        for number, (image, target, output) in enumerate(zip(images, targets, outputs, strict=True)):
            for name, picture in zip(("truth", "found"), draw(image, target, output), strict=True):
                arrays[f"{name}_{number}"] = picture.permute(1, 2, 0).numpy()
    return arrays


def draw_objects(image: Tensor, objects: Mapping[str, Tensor], classes: Sequence[str]) -> Tensor:
    """An image with boxes, masks, names of classes and scores, as far as there are any.

    Args:
        image: uint8 (3, H, W).
        objects: ``boxes``, ``labels`` in 0..C−1, and perhaps ``scores``, and ``masks`` (K, H, W) or (K, 1, H, W).
        classes: Names of the classes.

    Returns:
        uint8 (3, H', W'), enlarged where the image is small. Where no score is high enough, a line of text says so.
    """
    found = {name: value.detach().cpu() for name, value in objects.items() if name in _OF_OBJECTS}
    if "scores" in found:
        kept = found["scores"] >= LEAST_SCORE
        found = {name: value[kept] for name, value in found.items()}
    large, factor = _enlarged(image)
    if not len(found["boxes"]):
        return _with_names(large, [(0.0, 0.0)], [f"none from {LEAST_SCORE:g} on"]) if "scores" in found else large
    colors = [_color(int(label), len(classes)) for label in found["labels"]]
    names = [classes[int(label)] for label in found["labels"]]
    if "scores" in found:
        names = [f"{name} {score:.2f}" for name, score in zip(names, found["scores"].tolist(), strict=True)]
    if "masks" in found:
        masks = found["masks"].reshape(-1, *image.shape[1:]).float()
        masks = F.interpolate(masks[None], size=large.shape[1:], mode="nearest")[0] > 0.5
        large = draw_segmentation_masks(large, masks, alpha=0.45, colors=colors)
    boxes = found["boxes"] * factor
    return _with_names(draw_bounding_boxes(large, boxes, colors=colors, width=2), boxes[:, :2].tolist(), names)


_OF_OBJECTS = ("boxes", "labels", "scores", "masks")


def draw_classes(image: Tensor, classes: Tensor, names: Sequence[str]) -> Tensor:
    """An image with the class of each pixel as a colour, and the name of each class once, where it is.

    Args:
        image: uint8 (3, H, W).
        classes: (H, W): 0 the background, k + 1 class k; others are not coloured.
        names: Names of the classes.

    Returns:
        uint8 (3, H', W'), enlarged where the image is small.
    """
    large, _ = _enlarged(image)
    there = F.interpolate(classes[None, None].float(), size=large.shape[1:], mode="nearest")[0, 0].long().cpu()
    present = [label for label in range(len(names)) if (there == label + 1).any()]
    if not present:
        return large
    masks = torch.stack([there == label + 1 for label in present])
    colored: Tensor = draw_segmentation_masks(
        large, masks, alpha=0.6, colors=[_color(label, len(names)) for label in present]
    )
    return _with_names(colored, [_middle(mask) for mask in masks], [names[label] for label in present])


def _middle(mask: Tensor) -> tuple[float, float]:
    """Left and top of a name in the middle of the pixels of a class: in that of them next to their mean."""
    places = mask.nonzero().float()
    top, left = places[(places - places.mean(0)).square().sum(1).argmin()].tolist()
    return left - 16, top - 10


def _with_names(image: Tensor, corners: Sequence[Sequence[float]], names: Sequence[str]) -> Tensor:
    """An image with names whose upper left corners are given; within it, and so that they can be read on any ground."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for (left, top), name in zip(corners, names, strict=True):
        place = (
            max(0, min(left + 4, picture.width - font.getlength(name) - 2)),
            max(0, min(top + 2, picture.height - 16)),
        )
        pen.text(place, name, fill="white", stroke_width=1, stroke_fill="black", font=font)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _enlarged(image: Tensor) -> tuple[Tensor, float]:
    """A small image with a short side of ``SIDE`` or a little less, and the factor."""
    factor = max(1, SIDE // min(image.shape[1:]))
    return image.repeat_interleave(factor, 1).repeat_interleave(factor, 2).cpu(), float(factor)


def _color(label: int, count: int) -> tuple[int, int, int]:
    """Of a class: hues far from each other, darker in turns."""
    red, green, blue = colorsys.hsv_to_rgb(label / max(count, 1), 0.85, 0.95 if label % 2 else 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)
