"""What the page shows of what networks make of test images: detectors and segmenters, and style transfer."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from stripe.errors import StripeError
from stripe.plots.predictions import arrays_of, pictures_of
from stripe.plots.select import NothingToDrawError
from stripe.plots.transfer import arrays_of as transfer_arrays
from stripe.training.run import Run

__all__ = ["predictions_pictures", "transfer_pictures"]

IMAGES = 4


def predictions_pictures(runs: Sequence[Run], notes: list[str]) -> list[dict[str, str]]:
    """Pictures of the first run that has some; none where no run is of a detector or segmenter.

    Args:
        runs: The runs of the page.
        notes: What else the page says; a sentence is added where a file is damaged.

    Returns:
        For each test image ``picture``, the address of a picture with the truth on the left and what was found on the
        right, and ``text``, what it shows.
    """
    for run in runs:
        try:
            arrays = arrays_of(run)
        except NothingToDrawError:
            continue
        except StripeError as error:
            notes.append(str(error))
            continue
        pairs = zip(pictures_of(arrays, "truth"), pictures_of(arrays, "found"), strict=True)
        return [
            {
                "picture": _address(np.concatenate([truth, np.full_like(truth[:, :8], 255), found], axis=1)),
                "text": f"Test image {number}: truth, and what is found after epoch {int(arrays['epoch'])}",
            }
            for number, (truth, found) in enumerate(list(pairs)[:IMAGES], 1)
        ]
    return []


def transfer_pictures(runs: Sequence[Run], notes: list[str]) -> list[dict[str, str]]:
    """Pictures of the first run of style transfer that has some, as ``predictions_pictures`` gives them.

    Args:
        runs: The runs of the page.
        notes: What else the page says; a sentence is added where a file is damaged.

    Returns:
        For each held-out image ``picture``, the address of a picture with the image on the left and what the network
        makes of it on the right, and ``text``, what it shows.
    """
    for run in runs:
        try:
            arrays = transfer_arrays(run)
        except NothingToDrawError:
            continue
        except StripeError as error:
            notes.append(str(error))
            continue
        rows = zip(*(arrays[name] for name in ("content", "made", "content_loss", "style_loss")), strict=True)
        return [
            {
                "picture": _address(np.concatenate([image, np.full_like(image[:, :8], 255), made], axis=1)),
                "text": f"Held-out image {number}: as it is, and in the style after epoch {int(arrays['epoch'])}; "
                f"content loss {content:.3g}, style loss {style:.3g}",
            }
            for number, (image, made, content, style) in enumerate(list(rows)[:IMAGES], 1)
        ]
    return []


def _address(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> str:
    """A picture within the page."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
