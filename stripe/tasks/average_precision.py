"""COCO's average precision of detections, over the images of all processes."""

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from itertools import zip_longest
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import Tensor

from stripe.errors import StripeError

__all__ = ["BOX", "MASK", "AveragePrecision", "PrecisionOfSome"]

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
_MISSING = (
    "Average precision is computed by torchmetrics and pycocotools, which are not installed: "
    "pip install torchmetrics pycocotools."
)
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
            raise StripeError(_MISSING) from error
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


class PrecisionOfSome:
    """The average precision of boxes, ``ap``, of some of the images alone, by pycocotools.

    Detections and objects of an image are matched once, whatever images are left out.
    """

    def __init__(self) -> None:
        self._found: list[dict[str, Any]] = []
        self._objects: list[dict[str, Any]] = []
        self._images = 0

    def update(self, detections: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]) -> None:
        """Take in the detections in some images and the truth, as ``AveragePrecision.update`` does."""
        for found, target in zip(detections, targets, strict=True):
            self._images += 1
            self._objects += _records(self._images, target, iscrowd=target.get("iscrowd"))
            self._found += _records(self._images, found, score=found["scores"])

    def without(self, groups: Sequence[Sequence[int]]) -> list[float]:
        """The average precision in per cent of all images but those of a group; NaN where no object is left.

        Args:
            groups: For each group the numbers of its images, from 0, in the order in which they were taken in.

        Raises:
            StripeError: pycocotools is not installed.
        """
        try:
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval
        except ImportError as error:
            raise StripeError(_MISSING) from error
        kinds = sorted({record["category_id"] for record in (*self._objects, *self._found)})
        sets = []
        with redirect_stdout(io.StringIO()):  # pycocotools prints what it does
            for records in (self._objects, self._found):
                made = COCO()
                made.dataset = {
                    "images": [{"id": number + 1} for number in range(self._images)],
                    "categories": [{"id": kind} for kind in kinds],
                    "annotations": [{"id": number, **record} for number, record in enumerate(records, 1)],
                }
                made.createIndex()
                sets.append(made)
            evaluation = COCOeval(*sets, iouType=BOX)
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluation.params.maxDets = [100]
            if kinds:
                evaluation.evaluate()
            matched = list(evaluation.evalImgs)  # of one class after the other all images
            values = []
            for group in groups:
                out = set(group)
                kept = [None if place % self._images in out else each for place, each in enumerate(matched)]
                values.append(_mean_precision(evaluation, kept) if kinds else math.nan)
        return values


def _records(image: int, objects: Mapping[str, Tensor], **more: Tensor | None) -> list[dict[str, Any]]:
    """Objects or detections of an image, as pycocotools takes them."""
    boxes = objects["boxes"].detach().cpu().float()
    sides = boxes[:, 2:] - boxes[:, :2]
    columns = {
        "bbox": [[*corner, *side] for corner, side in zip(boxes[:, :2].tolist(), sides.tolist(), strict=True)],
        "area": sides.prod(1).tolist(),
        "category_id": objects["labels"].tolist(),
        **{name: value.tolist() for name, value in more.items() if value is not None},
    }
    plain = {"image_id": image, "iscrowd": 0}
    return [plain | dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _mean_precision(evaluation: Any, matched: Sequence[Any]) -> float:
    """The mean over classes, overlaps and recalls, without the classes of which there is no object."""
    evaluation.evalImgs = list(matched)
    evaluation.accumulate()
    precision = evaluation.eval["precision"]
    known = precision[precision > -1]
    return 100 * float(known.mean()) if known.size else math.nan
