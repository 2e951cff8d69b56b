"""Single pictures in files: read as they are, and written."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from stripe.data.files import decode
from stripe.errors import StripeError
from stripe.files import replacing

__all__ = ["check_picture", "count_pictures", "read_picture", "write_picture"]

LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif"}
"""Ends of the names of a format without transparency, and with a quality."""


def read_picture(path: Path) -> Tensor:
    """Read a picture in its own size, as it is to be looked at.

    It becomes 8-bit RGB as in data sets (see ``stripe.data.files.FileImages``): a grey one, too, and turned as the
    camera noted (EXIF). Transparency is kept as a fourth channel.

    Args:
        path: The file.

    Returns:
        uint8 (3, H, W), or (4, H, W) where some pixel may be transparent.

    Raises:
        StripeError: It is no picture, or cannot be read.
    """
    if not path.is_file():
        raise StripeError(f"there is no picture {path}")
    rgb = torch.from_numpy(np.array(decode(path))).permute(2, 0, 1)
    with Image.open(path) as image:
        if not image.has_transparency_data:
            return rgb
        alpha = np.array(ImageOps.exif_transpose(image).convert("RGBA").getchannel("A"))
    return torch.cat([rgb, torch.from_numpy(alpha)[None]])


def count_pictures(path: Path) -> int:
    """How many pictures a file holds: several of an animation, of which the first is read; 0 where it is none."""
    try:
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # decoders raise whatever they like on broken files; who reads it says so
        return 0


def check_picture(path: Path) -> None:
    """Make sure that a picture can be written under a name.

    Raises:
        StripeError: The end of the name is of no format that can be written.
    """
    Image.init()
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise StripeError(f"{path}: the format is not known by its name; end it in .png or .jpg")


def write_picture(path: Path, picture: Tensor) -> None:
    """Write a picture, whole or not at all.

    Args:
        path: The file, whose ending decides the format. A JPEG has no transparency; it is dropped.
        picture: uint8 (3, H, W), or (4, H, W) with transparency.

    Raises:
        StripeError: The format is not known, or the file cannot be written.
    """
    check_picture(path)
    lossy = path.suffix.lower() in LOSSY
    pixels = picture[:3] if lossy else picture
    image = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    with replacing(path) as unfinished:
        kind = Image.registered_extensions()[path.suffix.lower()]
        try:
            image.save(unfinished, format=kind, **({"quality": 95} if lossy else {}))
        except ValueError as error:  # a format that this picture does not fit, such as one of two colours
            raise StripeError(f"{path} cannot be written: {error}.") from error
