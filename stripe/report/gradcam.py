"""The average Grad-CAM maps that a capture may hold in ``/gradcam/<layer>``."""

from typing import Any

import numpy as np

from stripe.capture import CaptureLike, as_capture
from stripe.report.encode import encode
from stripe.report.thinning import block_mean

__all__ = ["gradcam_records"]

# Positions a side that a page shows; maps of 224 px are averaged in squares of two.
MAX_SIDE = 128


def gradcam_records(capture: CaptureLike) -> list[dict[str, Any]]:
    """The mean map of every layer, and the std over images where there is one.

    Returns:
        Ready for JSON, a record a layer, none where the capture has no such group: ``layer``; ``images``, how many
        were averaged, null where the file doesn't say, and ``empty``, how many of them have a map of zeros; ``target``,
        the class whose evidence the maps show; ``size``, height and width; ``group``, the side of the squares
        of positions that were averaged; ``mean`` and perhaps ``std`` (height, width).
    """
    opened = as_capture(capture)
    records = []
    for layer, average in opened.gradcam.items():
        facts = opened.layers[layer]
        both = {name: average[name] for name in ("mean", "std") if name in average}
        maps = {name: values.to_numpy() for name, values in both.items() if values.ndim == 2}
        if "mean" not in maps:
            continue
        size = maps["mean"].shape
        group = -(-max(size) // MAX_SIDE)
        records.append(
            {
                "layer": layer,
                "images": facts.count,
                "empty": facts.empty,
                "target": facts.target,
                "size": list(size),
                "group": group,
                # One slice, so that the map has one range.
                **{
                    name: encode(block_mean(values.astype(np.float64), group, [0, 1])[None])
                    for name, values in maps.items()
                },
            }
        )
    return records
