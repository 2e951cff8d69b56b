"""Image files: whatever they hold, they come out as square RGB."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from stripe.data.base import IntArray
from stripe.data.images import Images
from stripe.errors import StripeError

__all__ = ["EXTENSIONS", "FileImages", "common_size"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""The files that count as images, by the end of their names."""


class FileImages(Images):
    """Image files, decoded with Pillow.

    `read` scales the short side to ``size / crop_fraction`` (bilinear, antialiased) and cuts out the centre.
    Grey, palette, CMYK and 16-bit images become 8-bit RGB, transparency is dropped, and the orientation that
    a camera noted (EXIF) is applied.

    Args:
        root: The folder that the paths are relative to.
        paths: The files.
        size: Height and width of what `read` returns.
        varied: The files differ in size.
        crop_fraction: How much of the short side the crop keeps; 1 keeps all of it, .875 is the custom for
            ImageNet (256 → 224).
    """

    def __init__(self, root: Path, paths: list[str], size: int, *, varied: bool, crop_fraction: float = 1.0) -> None:
        self.size, self.varied = size, varied
        self._root, self._paths, self._crop_fraction = root, paths, crop_fraction

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, indices: IntArray) -> Tensor:
        """See `Images.read`."""
        images = [np.asarray(self._square(self._decode(int(index), reduced=True))) for index in indices]
        return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))

    def _square(self, image: Image.Image) -> Image.Image:
        size, bleed = (self.size, self.size), (1 - self._crop_fraction) / 2
        if image.size == size and not bleed:
            return image  # saves a third of the time for sets of small images
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR, bleed=bleed)

    def original(self, index: int) -> Tensor:
        """See `Images.original`."""
        if not self.varied:
            return super().original(index)
        return torch.from_numpy(np.array(self._decode(index, reduced=False))).permute(2, 0, 1)

    def _decode(self, index: int, *, reduced: bool) -> Image.Image:
        path = self._root / self._paths[index]
        try:
            # Read at once: many small reads would hand the interpreter lock to and fro between the threads.
            with Image.open(BytesIO(path.read_bytes())) as image:
                least = int(self.size / self._crop_fraction) + 1
                if reduced and min(image.size) > 2 * least:
                    image.draft(None, (least, least))  # decodes a JPEG at 1/2, 1/4 or 1/8, much faster
                ImageOps.exif_transpose(image, in_place=True)
                return _to_rgb(image)
        except Exception as error:  # decoders raise whatever they like on broken files
            raise _unreadable(path, error) from None


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


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip to white
        values = np.clip(np.asarray(image), 0, 65535) // 256
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode == "P":  # a palette may hold transparency, which converts by way of RGBA only
        image = image.convert("RGBA")
    return image.convert("RGB")


def _unreadable(path: Path, error: Exception) -> StripeError:
    reason = "in no known format" if isinstance(error, UnidentifiedImageError) else error
    return StripeError(f"{path} cannot be read as an image ({reason}). Replace the file or take it away.")
