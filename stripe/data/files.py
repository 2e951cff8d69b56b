"""Image files: whatever they hold, they come out as RGB of one size."""

import hashlib
import os
from collections.abc import Iterable
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError, features
from torch import Tensor

from stripe.data.base import IntArray
from stripe.data.images import Images
from stripe.data.size import ImageSize, sides
from stripe.errors import StripeError

__all__ = ["FileImages", "common_size", "decode", "digest_of", "is_image_name", "size_of"]

NO_PICTURES = {"MPEG", "EPS"}
"""Formats that Pillow knows, but that are films, of which it reads the header, or programs, which we don't run."""

OPTIONAL = {"AVIF": "avif", "WEBP": "webp", "JPEG2000": "jpg_2000"}
"""Formats that Pillow may have been built without, and its names of what they need."""


class FileImages(Images):
    """Image files, decoded with Pillow.

    ``read`` scales images until they just cover ``size / crop_fraction`` (bilinear, antialiased), which for square ones
    is the length of the short side, and cuts out the centre.
    Whatever they hold becomes 8-bit RGB, of films the first picture; transparency is dropped, and the orientation
    that a camera noted (EXIF) is applied. Whole numbers of more than 8 bits are scaled by the range that they are
    of: 16 bits, 12 where no value in the image is above 4095, 8 where none is above 255. Floating-point numbers are
    of 0..1 where none is outside of it, else of 0..255, else of 0..65535; those outside of that, and whole numbers
    of more than 16 bits, are scaled from the least to the largest in the image.

    Args:
        root: The folder that the paths are relative to.
        paths: The files.
        size: Height and width of what ``read`` returns.
        varied: The files differ in size.
        crop_fraction: How much of the short side the crop keeps; 1 keeps all of it, .875 is the custom for
            ImageNet (256 → 224).
    """

    def __init__(
        self, root: Path, paths: list[str], size: ImageSize, *, varied: bool, crop_fraction: float = 1.0
    ) -> None:
        self.size, self.varied = size, varied
        self._root, self._paths, self._crop_fraction = root, paths, crop_fraction

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, indices: IntArray) -> Tensor:
        """See ``Images.read``."""
        images = [np.asarray(self._fitted(self._decode(int(index), reduced=True))) for index in indices]
        return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))

    def _fitted(self, image: Image.Image) -> Image.Image:
        height, width = sides(self.size)
        size, bleed = (width, height), (1 - self._crop_fraction) / 2
        if image.size == size and not bleed:
            return image  # saves a third of the time for sets of small images
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR, bleed=bleed)

    def original(self, index: int) -> Tensor:
        """See ``Images.original``."""
        if not self.varied:
            return super().original(index)
        return torch.from_numpy(np.array(self._decode(index, reduced=False))).permute(2, 0, 1)

    def _decode(self, index: int, *, reduced: bool) -> Image.Image:
        height, width = (int(side / self._crop_fraction) + 1 for side in sides(self.size))
        return decode(self._root / self._paths[index], least=(width, height) if reduced else None)


def decode(
    path: Path, *, least: tuple[int, int] | None = None, annotated: tuple[int, int] | None = None
) -> Image.Image:
    """An image file as 8-bit RGB, see ``FileImages``.

    Args:
        path: The file.
        least: Width and height that are enough: a JPEG may come out at a half, a quarter or an eighth of its size.
        annotated: Width and height as annotations of the image say. Where they are those of an image that the camera
            noted has to be turned, as it was before, it is not turned.

    Raises:
        StripeError: The file cannot be read.
    """
    try:
        # Read at once: many small reads would hand the interpreter lock to and fro between the threads.
        with Image.open(BytesIO(path.read_bytes())) as image:
            lies = _lies(image)
            if least:
                wanted = least[::-1] if lies else least
                if all(there > 2 * side for there, side in zip(image.size, wanted, strict=True)):
                    image.draft(None, wanted)  # much faster
            if not (lies and annotated == image.size != image.size[::-1]):
                ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except Exception as error:  # decoders raise whatever they like on broken files
        raise _unreadable(path, error) from None


def size_of(path: Path, annotated: tuple[int, int] | None = None) -> tuple[int, int]:
    """Width and height of what ``decode`` gives, from the header of the file.

    Raises:
        StripeError: The file cannot be read.
    """
    try:
        with Image.open(path) as image:
            turned = _lies(image) and annotated != image.size
            return image.size[::-1] if turned else image.size
    except Exception as error:
        raise _unreadable(path, error) from None


def _lies(image: Image.Image) -> bool:
    """Whether the camera noted that the image has to be turned by 90°."""
    return image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)


def common_size(root: Path, paths: list[str]) -> tuple[int, int] | None:
    """Width and height that all these files share, from their headers; None where they differ."""
    sizes = set()
    for path in paths:
        try:
            with Image.open(root / path) as image:
                sizes.add(image.size)
        except Exception as error:
            raise _unreadable(root / path, error) from None
    return sizes.pop() if len(sizes) == 1 else None


def digest_of(*lists: Iterable[str]) -> str:
    """What tells data sets of other files apart: 16 digits of the SHA-256 of lists of their names."""
    text = "\n\n".join("\n".join(names) for names in lists)
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


@cache
def _suffixes() -> frozenset[str]:
    """The ends of the names of what the installed Pillow, with its plugins, reads."""
    Image.init()
    stubs = {
        name
        for name, (factory, _) in Image.OPEN.items()
        if isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    }
    absent = {name for name, feature in OPTIONAL.items() if not features.check(feature)}
    read = Image.OPEN.keys() - stubs - absent - NO_PICTURES
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in read)


def is_image_name(name: str) -> bool:
    """Whether a file is an image that Pillow reads, by the end of its name."""
    return "." + name.rpartition(".")[2].lower() in _suffixes()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode[0] in "IF":  # Pillow would clip these to 0..255
        return Image.fromarray(_to_bytes(np.asarray(image))).convert("RGB")
    if image.mode in ("P", "PA", "La", "RGBa"):  # a palette may hold transparency; these convert by way of RGBA only
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    return image.convert("RGB")


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Grey values of any range in 0..255, uint8; see ``FileImages`` for the rule."""
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        values = np.where(finite, values, values[finite].min() if finite.any() else 0).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    scaled: np.ndarray
    if low < 0 or high > 65535:
        scaled = np.rint((values.astype(np.float64) - low) * (255 / (high - low or 1)))
    elif values.dtype.kind == "f" and high <= 1:
        scaled = np.rint(values * 255)
    elif high <= 255:
        scaled = values
    else:
        scaled = values // (16 if values.dtype.kind != "f" and high <= 4095 else 256)
    return scaled.astype(np.uint8)


def _unreadable(path: Path, error: Exception) -> StripeError:
    reason = "in no known format" if isinstance(error, UnidentifiedImageError) else error
    return StripeError(f"{path} cannot be read as an image ({reason}). Replace the file or take it away.")
