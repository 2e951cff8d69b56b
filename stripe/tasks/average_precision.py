"""COCO's average precision of detections, over the images of all processes."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import Tensor

from stripe.errors import StripeError

__all__ = ["BOX", "MASK", "AveragePrecision"]

BOX, MASK = "bbox", "segm"
"""What is compared with the truth, in COCO's words."""

_MEASURES = {
    "ap": "map",
    "ap50": "map_50",
    "ap75": "map_75",
    "aps": "map_small",
    "apm": "map_medium",
    "apl": "map_large",
}
_LABELS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "aps": "APs", "apm": "APm", "apl": "APl"}
_NONE = object()
_PREFIX = {BOX: ("", ""), MASK: ("mask_", "mask ")}


class AveragePrecision:
    """The average precision of detections, as pycocotools computes it, through torchmetrics.

    It is the mean over the classes and, for ``ap``, over the overlaps .5, .55 … .95 from which on an object counts as
    found; ``ap50`` and ``ap75`` are those at .5 and .75, ``aps``, ``apm`` and ``apl`` those of objects below 32²
    pixels, between, and above 96². The same with ``mask_`` before is of masks.

    Args:
        iou_types: What is compared: ``"bbox"``, ``"segm"``, or both.

    Raises:
        StripeError: torchmetrics or pycocotools is not installed.
    """

    def __init__(self, iou_types: Sequence[str]) -> None:
        self.iou_types = tuple(iou_types)
        try:
            from torchmetrics.detection import MeanAveragePrecision

            made: Any = MeanAveragePrecision(
                iou_type=self.iou_types,  # type: ignore[arg-type]
                # pycocotools' own; torchmetrics rounds them to float32, which moves recalls such as .1 by one place.
                iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
                rec_thresholds=np.linspace(0, 1, 101).tolist(),
                backend="pycocotools",
                sync_on_compute=False,
            )
        except ImportError as error:
            raise StripeError(
                "Average precision is computed by torchmetrics and pycocotools, which are not installed: "
                "pip install torchmetrics pycocotools."
            ) from error
        self._metric = made
        self._metric.warn_on_many_detections = False

    @staticmethod
    def names(iou_types: Sequence[str]) -> dict[str, str]:
        """Name of each measure → what it is called in sentences and pictures."""
        return {
            f"{_PREFIX[kind][0]}{name}": f"{_PREFIX[kind][1]}{label}"
            for kind in iou_types
            for name, label in _LABELS.items()
        }

    def update(self, detections: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]) -> None:
        """Take in the detections in some images and the truth.

        Args:
            detections: For each image ``boxes`` (K, 4), ``labels`` (K,), ``scores`` (K,) and for masks ``masks``
                (K, 1, H, W), probabilities, of which those above one half are within.
            targets: For each image ``boxes``, ``labels``, and perhaps ``masks`` (K, H, W), ``iscrowd`` and ``area``.
        """
        self._metric.update(
            [self._plain(found, ("boxes", "labels", "scores")) for found in detections],
            [self._plain(target, ("boxes", "labels", "iscrowd", "area")) for target in targets],
        )

    def _plain(self, record: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """What torchmetrics takes of a record, on the CPU."""
        own = {name: record[name].detach().cpu() for name in names if name in record}
        own |= {name: own[name].float() for name in ("boxes", "scores", "area") if name in own}
        own |= {name: own[name].long() for name in ("labels", "iscrowd") if name in own}
        if MASK in self.iou_types:
            masks = record["masks"].detach()
            masks = masks[:, 0] if masks.ndim == 4 else masks
            own["masks"] = (masks > 0.5 if masks.is_floating_point() else masks.bool()).cpu()
        return own

    def compute(self) -> dict[str, float]:
        """Each of ``names`` → its value in per cent; NaN where there is no object of that size."""
        self._gather()
        found = self._metric.compute()
        several = len(self.iou_types) > 1
        values = {}
        for kind in self.iou_types:
            for name, theirs in _MEASURES.items():
                value = float(found[f"{kind}_{theirs}" if several else theirs])
                values[f"{_PREFIX[kind][0]}{name}"] = math.nan if value < 0 else 100 * value
        return values

    def _gather(self) -> None:
        """Take over what the other processes saw."""
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, self._metric.metric_state)
        self._metric.update([], [])  # or that of a process without an image would be called empty
        for name in parts[0]:  # a list with an entry for each image, of which the processes take turns
            turns = zip_longest(*(part[name] for part in parts), fillvalue=_NONE)
            setattr(self._metric, name, [value for turn in turns for value in turn if value is not _NONE])
