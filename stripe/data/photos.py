"""Image files of their own sizes, of which annotations say how large they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stripe.data.files import decode, size_of
from stripe.data.flaws import Flaws
from stripe.errors import StripeError
from stripe.progress import track

__all__ = ["Photo", "measured"]

CHECKED = 10_000
"""Images up to which the headers of all files are read; of more as many, evenly, the others when they are decoded."""


class Photo(NamedTuple):
    """An image file.

    Attributes:
        path: The file.
        width: Its width in pixels, as its annotations are of.
        height: Its height.
    """

    path: Path
    width: int
    height: int

    def read(self) -> Tensor:
        """The image, uint8 ``(3, height, width)``.

        Raises:
            StripeError: The file cannot be read, or has another size than its annotations say.
        """
        image = decode(self.path, annotated=(self.width, self.height))
        if image.size != (self.width, self.height):
            raise StripeError(
                f"{self.path} is {image.width}x{image.height} pixels, and its annotations are of an image of "
                f"{self.width}x{self.height}: replace the file or take it out of the annotations."
            )
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def measured(files: Mapping[str, tuple[Path, tuple[int, int] | None]], flaws: Flaws) -> dict[str, Photo]:
    """Those of the image files that can be read and have the size that is said of them.

    Args:
        files: For each image its file, and the width and height that are said of it, or None.
        flaws: Where the others are counted.
    """
    step = max(1, len(files) // CHECKED)
    photos: dict[str, Photo] = {}
    for place, (key, (path, said)) in enumerate(track(files.items(), "Looking at images", total=len(files))):
        if place % step and said:
            photos[key] = Photo(path, *said)
            continue
        try:
            size = size_of(path, said)
        except StripeError:
            flaws.add("{} unreadable image(s)", path.name)
            continue
        if said is None or said == size:
            photos[key] = Photo(path, *size)
        else:
            there, written = ("x".join(map(str, each)) for each in (size, said))
            flaws.add("{} image(s) of another size than the annotations say", f"{path.name}: {there}, not {written}")
    return photos
