"""The images in the folders of PASCAL VOC, with what can be used of their annotations."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from stripe.data.annotated import AnnotatedImages
from stripe.data.augmentation import Target
from stripe.data.flaws import Flaws
from stripe.data.objects import UNKNOWN, Found, cleaned
from stripe.data.photos import measured
from stripe.errors import StripeError

__all__ = ["Described", "VocImages", "are_binary", "described"]


class Described(NamedTuple):
    """What an XML file says of an image.

    Attributes:
        size: Width and height; None if they are not said.
        objects: Class, box (left, top, width, height; None if it is none) and difficulty of each object.
    """

    size: tuple[int, int] | None
    objects: list[tuple[str, list[float] | None, bool]]


def described(files: Mapping[str, Path], flaws: Flaws) -> dict[str, Described]:
    """What the XML files say of the images, by their names; of those that can be read."""
    found = {}
    for name, path in files.items():
        try:
            found[name] = _described(ElementTree.fromstring(path.read_bytes()))
        except Exception:  # the parser raises whatever it likes on broken files
            flaws.add("{} unreadable XML file(s)", path.name)
    return found


def _described(root: ElementTree.Element) -> Described:
    sides = [_number(root.findtext(f"size/{side}")) for side in ("width", "height")]
    objects = []
    for each in root.iter("object"):
        corners = [_number(each.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax")]
        box = None
        if all(math.isfinite(corner) for corner in corners):
            left, top, right, bottom = corners
            # VOC counts pixels from 1, and the last one is part of the box.
            box = [left - 1, top - 1, right - left + 1, bottom - top + 1]
            if right < left or bottom < top:
                box[2:] = [0.0, 0.0]
        objects.append(((each.findtext("name") or "").strip(), box, (each.findtext("difficult") or "").strip() == "1"))
    return Described((int(sides[0]), int(sides[1])) if min(sides) >= 1 else None, objects)


def _number(text: str | None) -> float:
    """The number in a text; NaN if there is none, or none that could be of pixels."""
    try:
        number = float(text or "")
    except ValueError:
        return math.nan
    return number if abs(number) < 2**31 else math.nan


class VocImages(AnnotatedImages):
    """Images by their names, with boxes, the class of every pixel, or both.

    Args:
        names: Names of the images that are wanted.
        images: The file of each image.
        said: What its XML file says; None if boxes are not wanted.
        masks: The file of its mask; None if masks are not wanted.
        classes: Names of the classes.
        base: The folder that ``paths`` are relative to.
        flaws: Where images and boxes that cannot be used are counted.

    Raises:
        StripeError: No image can be used.
    """

    def __init__(
        self,
        names: Sequence[str],
        images: Mapping[str, Path],
        said: Mapping[str, Described] | None,
        masks: Mapping[str, Path] | None,
        classes: Sequence[str],
        base: Path,
        flaws: Flaws,
    ) -> None:
        whole: dict[str, tuple[Path, tuple[int, int] | None]] = {}
        for name in names:
            size = None if said is None or name not in said else said[name].size
            if name not in images:
                flaws.add("{} image(s) without a file", name)
            elif said is not None and name not in said:
                flaws.add("{} image(s) without an XML file", name)
            elif masks is not None and name not in masks:
                flaws.add("{} image(s) without a mask", name)
            else:
                whole[name] = images[name], size
        photos = measured(whole, flaws)
        if masks is not None:
            photos = {
                name: photo for name, photo in photos.items() if _fits(masks[name], (photo.width, photo.height), flaws)
            }
        if not photos:
            raise StripeError(f"{base}: none of its images can be used. Left out are {flaws}.")
        self._photos, self._num_classes = [*photos.values()], len(classes)
        self.paths = [os.path.relpath(photo.path, base) for photo in self._photos]
        self._masks = None if masks is None else [masks[name] for name in photos]
        found, listed = [], said or {}
        for row, name in enumerate(photos if listed else ()):
            for label, box, difficult in listed[name].objects:
                if box is None or not label:
                    flaws.add("{} object(s) without a name or a box", f"in {name}.xml")
                elif label not in classes:
                    flaws.add("{} object(s) of an unknown class", f"{label} in {name}.xml")
                else:
                    area = max(box[2], 0) * max(box[3], 0)
                    found.append(Found(row, classes.index(label), box, area, difficult, -1, f"in {name}.xml"))
        sizes = np.array([photo[1:] for photo in self._photos])
        self._objects = cleaned(found, sizes, base / "Annotations", flaws)
        self.objects = None if said is None else self._objects.counts(len(self._photos))

    def read(self, index: int, kinds: Sequence[str]) -> tuple[Tensor, Target]:
        """See ``AnnotatedImages.read``.

        Raises:
            StripeError: A file cannot be read, or a mask has numbers of no class.
        """
        target = {"image_id": torch.tensor(index)}
        if "boxes" in kinds:
            target |= self._objects.target(index)
        if "segmentation" in kinds and self._masks is not None:
            target["segmentation"] = torch.from_numpy(_mask(self._masks[index], self._num_classes))
        return self._photos[index].read(), target


def _fits(path: Path, size: tuple[int, int], flaws: Flaws) -> bool:
    """Whether a mask holds numbers of classes, and is as large as its image."""
    try:
        with Image.open(path) as mask:
            if mask.mode not in ("P", "L", "1"):
                flaws.add("{} mask(s) that hold colours, where a palette or grey values must give the class", path.name)
            elif mask.size != size:
                flaws.add("{} mask(s) of another size than the image", path.name)
            else:
                return True
    except Exception:  # decoders raise whatever they like on broken files
        flaws.add("{} unreadable mask(s)", path.name)
    return False


def are_binary(masks: Sequence[Path]) -> bool:
    """Whether masks hold 0 and 255 alone, as tools write them that draw objects in white: nothing but unknown pixels.

    They are decoded up to the first that shows a class.
    """
    seen: set[int] = set()
    for path in masks:
        try:
            with Image.open(path) as mask:
                seen |= {*np.unique(np.array(mask, dtype=np.uint8)).tolist()} if mask.mode in ("P", "L", "1") else {1}
        except Exception:  # counted when its image is taken
            continue
        if seen - {0, UNKNOWN}:
            return False
    return UNKNOWN in seen


def _mask(path: Path, num_classes: int) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as mask:
            pixels = np.array(mask, dtype=np.uint8)
    except Exception as error:
        raise StripeError(f"{path} cannot be read as a mask ({error}). Replace the file or take it away.") from None
    unknown = (pixels > num_classes) & (pixels != UNKNOWN)
    if unknown.any():
        raise StripeError(
            f"{path} has pixels of the number {pixels[unknown][0]}, but there are {num_classes} classes: a mask holds "
            f"the numbers of classes from 1, 0 for the background, and {UNKNOWN} where the class is unknown."
        )
    return pixels
