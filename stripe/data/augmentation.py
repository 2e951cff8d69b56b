"""Random changes of an image together with its annotations, by torchvision's transforms."""

from dataclasses import dataclass

import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from stripe.data.size import ImageSize, inscribed, sides
from stripe.errors import StripeError

__all__ = ["Augmentation", "Target", "augment", "fit"]

Target = dict[str, Tensor]
"""Annotations of one image, see ``stripe.data.annotated``."""


@dataclass(frozen=True)
class Augmentation:
    """How images and their annotations are varied in training.

    Attributes:
        flip: Share of the images that are flipped from left to right.
        scale: Least and largest factor by which an image is scaled, drawn evenly between them.
        crop: Height and width of the random crop that is cut afterwards, so that all images are of one size; black and
            of unknown class where the image does not reach. None: no crop, or one of the split's ``image_size``.
        photometric: Whether brightness, contrast, saturation and hue are changed, each in half of the images (Liu et
            al. 2016, arXiv 1512.02325, section 2.2).

    Raises:
        StripeError: A number is out of its range.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (1.0, 1.0)
    crop: ImageSize | None = None
    photometric: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise StripeError(f"flip={self.flip} is out of range: it is a share, 0 to 1.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise StripeError(
                f"scale={self.scale} is out of range: give the least and the largest factor, both above 0."
            )


def augment(image: Tensor, target: Target, augmentation: Augmentation, size: ImageSize | None) -> tuple[Tensor, Target]:
    """Vary an image and its annotations, with torch's own random numbers.

    Regions that are a crowd (``iscrowd``) are taken away: they are no single objects to learn.

    Args:
        image: uint8 ``(3, H, W)``.
        target: Annotations of the image.
        augmentation: How.
        size: Height and width of images that all come out in one size; the scale is then relative to an image that
            just covers it.

    Returns:
        The new image and its annotations, without objects of which nothing is left.
    """
    if "iscrowd" in target:
        target = _chosen(target, ~target["iscrowd"])
    height, width = image.shape[-2:]
    cover = 1.0 if size is None else max(a / b for a, b in zip(sides(size), (height, width), strict=True))
    factor = cover * float(torch.empty(()).uniform_(*augmentation.scale))
    scaled = [max(1, round(side * factor)) for side in (height, width)]
    crop = augmentation.crop or size
    steps: list[v2.Transform] = []
    if scaled != [height, width]:
        steps.append(v2.Resize(scaled, antialias=True))
    if crop is not None:
        steps.append(v2.RandomCrop(sides(crop), pad_if_needed=True))
    steps.append(v2.RandomHorizontalFlip(augmentation.flip))
    if augmentation.photometric:
        steps.append(v2.RandomPhotometricDistort())
    changed, annotations = v2.Compose(steps)(*_wrapped(image, target))
    return _unwrapped(changed, annotations, target)


def fit(image: Tensor, target: Target, size: ImageSize | None) -> tuple[Tensor, Target]:
    """Cut the centre out of an image and its annotations, of the proportions of a size, and scale it to that size.

    Args:
        image: uint8 ``(3, H, W)``.
        target: Annotations of the image.
        size: Height and width of what comes out; None leaves the image as it is.

    Returns:
        The new image and its annotations, without objects of which nothing is left.
    """
    there = (image.shape[-2], image.shape[-1])
    if size is None or there == sides(size):
        return image, target
    height, width = sides(inscribed(size, there))
    box = ((there[0] - height) // 2, (there[1] - width) // 2, height, width)
    wrapped, annotations = _wrapped(image, target)
    changed = F.resized_crop(wrapped, *box, list(sides(size)), antialias=True)
    annotations = {key: F.resized_crop(value, *box, list(sides(size))) for key, value in annotations.items()}
    return _unwrapped(changed, annotations, target)


def _wrapped(image: Tensor, target: Target) -> tuple[tv_tensors.Image, dict[str, tv_tensors.TVTensor]]:
    """An image, and those of its annotations that move with it, as torchvision's transforms know them."""
    moved: dict[str, tv_tensors.TVTensor] = {}
    if "boxes" in target:
        size = (image.shape[-2], image.shape[-1])
        moved["boxes"] = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=size)
    if "masks" in target:
        moved["masks"] = tv_tensors.Mask(target["masks"].to(torch.uint8))
    if "segmentation" in target:  # 255 becomes 0, which is what transforms fill with where the image does not reach
        moved["segmentation"] = tv_tensors.Mask(target["segmentation"] + 1)
    return tv_tensors.Image(image), moved


def _unwrapped(image: Tensor, moved: dict[str, Tensor], before: Target) -> tuple[Tensor, Target]:
    """Plain tensors again, of the objects of which something is left."""
    after = before | {key: value.as_subclass(Tensor) for key, value in moved.items()}
    if "segmentation" in after:
        after["segmentation"] = after["segmentation"] - 1
    image = image.as_subclass(Tensor)
    if "boxes" not in after:
        return image, after
    boxes = F.clamp_bounding_boxes(moved["boxes"]).as_subclass(Tensor)
    left = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
    # Of the annotated area the part that is left: it is an object's own, not that of its box.
    area = before["area"] * _area(boxes) / _area(before["boxes"]).clamp_min(1e-6)
    after |= {"boxes": boxes, "area": area}
    if "masks" in after:
        after["masks"] = after["masks"].bool()
        after["area"] = after["masks"].flatten(1).sum(1).float()
        left &= after["area"] > 0
    return image, _chosen(after, left)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def _chosen(target: Target, chosen: Tensor) -> Target:
    """The annotations of some of the objects."""
    if bool(chosen.all()):
        return target
    return {key: value[chosen] if key in PER_OBJECT else value for key, value in target.items()}


PER_OBJECT = ("boxes", "labels", "masks", "area", "iscrowd")
"""Annotations of which there is one per object."""
