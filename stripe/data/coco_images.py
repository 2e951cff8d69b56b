"""The images of an annotation file in COCO's format, with what can be used of its annotations."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stripe.data.annotated import AnnotatedImages
from stripe.data.augmentation import Target
from stripe.data.coco_file import CocoFile, Entry, box_of, key_of, positive
from stripe.data.flaws import Flaws
from stripe.data.objects import UNKNOWN, Found, Objects, cleaned
from stripe.data.outlines import Outlines
from stripe.data.photos import Photo, measured
from stripe.errors import StripeError

__all__ = ["CocoImages"]

MOST_CLASSES = 254
"""Classes of which the pixels can be told apart in a byte, beside the ground and what is unknown."""


class CocoImages(AnnotatedImages):
    """The images of an annotation file that are there. What is left out is counted in one line of a warning.

    Args:
        file: The annotation file.
        root: The folder of the images.
        labels: Position among the classes of each category, by its id.
        base: The folder that ``paths`` are relative to.

    Attributes:
        kinds: The annotations that there are, of ``KINDS``.

    Raises:
        StripeError: No image or no object can be used, or boxes are not in pixels.
    """

    def __init__(self, file: CocoFile, root: Path, labels: Mapping[str, int], base: Path) -> None:
        flaws = Flaws()
        listed = _listed(file, flaws)
        photos = measured(_present(listed, root, flaws), flaws)
        if not photos:
            raise StripeError(f"{file.path}: none of its images can be used. Left out are {flaws}.")
        self._photos = [*photos.values()]
        self._ids = _ids([*photos])
        self.paths = [os.path.relpath(photo.path, base) for photo in self._photos]
        self._objects, self._outlines = _objects(file, listed, photos, labels, flaws)
        if not len(self._objects.boxes):
            raise StripeError(f"{file.path}: none of its annotations can be used. Left out are {flaws}.")
        self.objects = self._objects.counts(len(self._photos))
        few = max(labels.values()) < MOST_CLASSES
        with_outlines = ("boxes", "masks", "segmentation") if few else ("boxes", "masks")
        self.kinds: tuple[str, ...] = with_outlines if len(self._outlines) else ("boxes",)
        flaws.tell(file.path)

    def read(self, index: int, kinds: Sequence[str]) -> tuple[Tensor, Target]:
        """See ``AnnotatedImages.read``.

        Raises:
            StripeError: The file cannot be read, or has another size than its annotations say.
        """
        photo = self._photos[index]
        width, height = photo.width, photo.height
        target = {"image_id": torch.tensor(self._ids[index])}
        if "boxes" in kinds or "masks" in kinds:
            target |= self._objects.target(index)
        if "masks" in kinds or "segmentation" in kinds:
            own = self._objects.of(index)
            numbers = self._objects.outlines[own]
            masks = [self._outlines.mask(number, height, width) for number in numbers]
            stacked = np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool)
            if "masks" in kinds:
                target["masks"] = torch.from_numpy(stacked)
            if "segmentation" in kinds:
                target["segmentation"] = torch.from_numpy(_merged(stacked, self._objects.labels[own]))
        return photo.read(), target


def _merged(masks: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """The class of every pixel from the masks of objects; unknown where objects of several classes are said to be."""
    merged = np.zeros(masks.shape[1:], dtype=np.uint8)
    for mask, label in zip(masks, labels, strict=True):
        taken = mask & (merged != 0) & (merged != label + 1)
        merged[mask] = label + 1
        merged[taken] = UNKNOWN
    return merged


def _listed(file: CocoFile, flaws: Flaws) -> dict[str, Entry]:
    """The images by their ids."""
    listed: dict[str, Entry] = {}
    for place, said in enumerate(file.images):
        entry = file.entry(said)
        if entry is None:
            flaws.add("{} image(s) without an id or a file name", f"at place {place}")
        elif entry.key in listed:
            flaws.add("{} image(s) with the id of another", entry.name)
        else:
            listed[entry.key] = entry
    return listed


def _present(listed: Mapping[str, Entry], root: Path, flaws: Flaws) -> dict[str, tuple[Path, tuple[int, int] | None]]:
    """The files of those of the images that are there, and the sizes that are said of them."""
    found: dict[str, tuple[Path, tuple[int, int] | None]] = {}
    taken: set[str] = set()
    names_in = cache(_names_in)
    for key, entry in listed.items():
        path = _file_of(root, entry.name, names_in)
        if path is None:
            flaws.add("{} image(s) without a file", entry.name)
        elif str(path) in taken:
            flaws.add("{} image(s) listed twice", entry.name)
        else:
            taken.add(str(path))
            found[key] = path, entry.size
    return found


def _file_of(root: Path, name: str, names_in: Callable[[Path], frozenset[str]]) -> Path | None:
    """The file of an image; None if there is none.

    Some tools write the separators of another system, or folders that were there when the images were annotated.
    """
    written = name.replace("\\", "/")
    for candidate in dict.fromkeys((name, written, written.rpartition("/")[2])):
        path = root / candidate
        if path.name in names_in(path.parent):
            return path
    return None


def _names_in(folder: Path) -> frozenset[str]:
    """Names of the files in a folder, which is much faster for many than to ask for each."""
    try:
        return frozenset(entry.name for entry in os.scandir(folder) if not entry.is_dir())
    except OSError:
        return frozenset()


def _ids(keys: Sequence[str]) -> npt.NDArray[np.int64]:
    """The ids as numbers, or numbers in their place."""
    try:
        return np.array([int(key) for key in keys], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.arange(len(keys))


def _objects(
    file: CocoFile,
    listed: Mapping[str, Entry],
    photos: Mapping[str, Photo],
    labels: Mapping[str, int],
    flaws: Flaws,
) -> tuple[Objects, Outlines]:
    """The objects that can be used, and their outlines, if most have one."""
    rows = {key: row for row, key in enumerate(photos)}
    sizes = np.array([photo[1:] for photo in photos.values()])
    outlines, seen = Outlines(), dict[str, Any]()
    found = []
    for place, said in enumerate(file.annotations):
        if not isinstance(said, dict):
            flaws.add("{} annotation(s) in no known form", f"at place {place}")
            continue
        key, label = key_of(said.get("image_id")), labels.get(str(key_of(said.get("category_id"))))
        number = key_of(said.get("id"))
        name = f"annotation {number}" if number else f"annotation at place {place}"
        if key not in listed:
            flaws.add("{} annotation(s) of an image that is not listed", name)
            continue
        row = rows.get(str(key))
        if row is None:
            continue  # counted with its image
        if label is None:
            flaws.add("{} annotation(s) of an unknown category", name)
            continue
        if number and (other := seen.setdefault(number, said)) is not said:
            if all(other.get(key) == said.get(key) for key in ("image_id", "category_id", "bbox", "segmentation")):
                flaws.add("{} annotation(s) listed twice", name)
                continue
            flaws.add("{} annotation(s) with the id of another, kept", name)
        width, height = sizes[row].tolist()
        outline, box = -1, box_of(said.get("bbox"))
        if said.get("segmentation"):
            if outlines.add(said["segmentation"], height, width):
                outline = len(outlines) - 1
            else:
                flaws.add("{} unusable outline(s)", name)
        if box is None and outline >= 0:
            box = outlines.box(outline, height, width)
            if said.get("bbox") is not None:
                flaws.add("{} box(es) in no known form, taken from the outline", name)
        if box is None:
            flaws.add("{} annotation(s) without a box", name)
            continue
        area = positive(said.get("area"))
        if not area:
            area = outlines.area(outline, height, width) if outline >= 0 else max(0.0, box[2]) * max(0.0, box[3])
        found.append(Found(row, label, box, area, bool(said.get("iscrowd")), outline, name))
    objects = cleaned(found, sizes, file.path, flaws)
    without = objects.outlines < 0
    if not len(outlines) or without.mean() > 0.5:
        flaws.add("{} outline(s) not used, as most objects have none", "see segmentation", len(outlines))
        return objects, Outlines()
    flaws.add("{} object(s) without an outline", "as others have one", int(without.sum()))
    return objects.chosen(~without), outlines
