"""Objects in an image, with boxes and perhaps masks: a detector's own losses, and COCO's average precision."""

import copy
import math
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from stripe.adapter import Batch, explained
from stripe.data import Augmentation, Data, Split
from stripe.errors import StripeError
from stripe.models import outputs_of
from stripe.tasks.average_precision import BOX, MASK, AveragePrecision, PrecisionOfSome
from stripe.tasks.base import Judge, Meter, Place, Scored, Task
from stripe.tasks.drawing import COUNT, draw_objects, pictures_of, write_predictions
from stripe.tasks.options import DetectionOptions
from stripe.tasks.registry import register
from stripe.tasks.scoring import Scoring

__all__ = ["Detection", "Found"]

NAMES = {
    "loss_classifier": "classifier",
    "loss_box_reg": "box",
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "rpn_box",
    "loss_mask": "mask",
    "classification": "classifier",
    "bbox_regression": "box",
    "bbox_ctrness": "centerness",
}
"""What torchvision's detectors call their losses → what we do."""

SEED = 0
"""Decides which anchors and proposals the loss of images that are not trained on is computed from."""


class Found(NamedTuple):
    """What a detector gives for a batch.

    Attributes:
        losses: Its losses by name, each a mean over the images.
        detections: For each image ``boxes`` float32 (K, 4) in pixels, ``labels`` int64 (K,) in 0..C−1, ``scores`` (K,)
            and, where the network has masks, ``masks`` (K, 1, H, W) of probabilities; None in training.
    """

    losses: dict[str, Tensor]
    detections: list[dict[str, Tensor]] | None


@register
class Detection(Task):
    """Find the objects in an image with one of torchvision's detectors.

    Targets are a list with a dictionary for each image, see ``stripe.data.Data``: ``boxes``, ``labels`` in 0..C−1,
    perhaps ``masks``, ``area`` and ``iscrowd``. The network's label 0 is the background; crowds are not trained on, and
    count in the average precision as COCO says.

    The losses of a network in evaluation mode are computed from the same feature maps as its detections, on a sample of
    anchors and proposals that is the same whenever the same batch is scored. In other batches another sample is taken,
    and the losses differ a little; the average precision does not.

    Args:
        classes: How many classes the data has.
        masks: Whether the data has masks.
        options: How images are varied in training; None: as by default.

    Attributes:
        positions: The network's label of each class of the data; None: those from 1 on, in order. Detections of other
            labels are left out.
    """

    name: ClassVar[str] = "detection"
    scoring: Scoring = Scoring(("loss", "ap"), best="ap")
    options: ClassVar[type | None] = DetectionOptions

    def __init__(self, classes: int, masks: bool = False, options: DetectionOptions | None = None) -> None:
        super().__init__(options)
        self.classes, self._masks = classes, masks
        self.positions: Sequence[int] | None = None
        self._iou_types: tuple[str, ...] = ()
        self._data: Data | None = None

    @classmethod
    def of_data(cls, data: Data, options: DetectionOptions | None = None) -> Self:
        """The task of finding the objects of the data's classes.

        Raises:
            StripeError: The data has no boxes.
        """
        if "boxes" not in data.annotations:
            raise StripeError(
                f"The images of {data.spec} have no boxes, which a detector is trained on: give data such as scenes, "
                "coco:DIR or voc:DIR."
            )
        return cls(len(data.classes), "masks" in data.annotations, options)

    def outputs(self, data: Data) -> int:
        """One for each class, and one for the background."""
        return len(data.classes) + 1

    def prepare(self, model: nn.Module, data: Data, compute: Place) -> None:
        """Take from the network which losses it has, and whether masks are scored.

        Raises:
            StripeError: It is no detector of torchvision, it has keypoints, it has masks and the data none, it
                has too few outputs for the data's classes, or no training image has an object to train on.
        """
        heads = getattr(model, "roi_heads", None)
        if not all(hasattr(model, part) for part in ("transform", "backbone")):
            raise StripeError(
                f"{type(model).__name__} is no detector: give a model such as maskrcnn:resnet20, fasterrcnn:resnet20, "
                "retinanet:resnet20 or torchvision:maskrcnn_resnet50_fpn."
            )
        if heads is not None and heads.has_keypoint():
            raise StripeError(
                f"{type(model).__name__} finds keypoints, for which there is no data; take another model."
            )
        masks = heads is not None and bool(heads.has_mask())
        if masks and not self._masks:
            raise StripeError(
                f"{type(model).__name__} is trained on masks, and {data.spec} has only boxes: take a "
                "model without, such as fasterrcnn:resnet20."
            )
        of_boxes = ["loss_objectness", "loss_rpn_box_reg"] if isinstance(model, GeneralizedRCNN) else []
        outputs = outputs_of(model)
        if outputs is not None and outputs < self.classes + 1:
            raise StripeError(
                f"{type(model).__name__} has {outputs} outputs, but {data.spec} has {self.classes} classes, and the "
                f"background is one more: num_classes= must be at least {self.classes + 1}."
            )
        objects = data.train.objects
        if objects is not None and not objects.any():
            raise StripeError(
                f"None of the {len(objects):,} training images of {data.spec} has an object to train a detector on; "
                "crowds and what VOC calls difficult do not count."
            )
        losses = ["loss_classifier", "loss_box_reg", *of_boxes]
        losses += ["loss_mask"] if masks else ["bbox_ctrness"] if isinstance(model, FCOS) else []
        self._iou_types = (BOX, MASK) if masks else (BOX,)
        self._data = data
        self.scoring = _scoring([NAMES[name] for name in losses], self._iou_types)

    def needed(self, data: Data) -> Data:
        """The data with the boxes and, where the network has masks, with those."""
        return data.with_annotations(["boxes", *(["masks"] if MASK in self._iou_types else [])])

    def augmentation(self, split: Split) -> Augmentation:
        """Flipped, and scaled and recoloured as the options say, at random."""
        return Augmentation(scale=self.chosen.scale, photometric=self.chosen.photometric)

    def forward(self, model: nn.Module, batch: Batch, targets: Any) -> Found:
        """The losses; and the detections, in evaluation mode."""
        device = batch.images[0].device
        if self.positions is None:  # made on the device: a copy to it would be waited for at every step
            labels = torch.arange(1, self.classes + 1, device=device)
        else:
            labels = torch.tensor(self.positions, device=device)
        trained_on = [_of_model(target, labels) for target in targets]
        images = list(batch.images)
        with explained(model, batch):
            if model.training:
                return Found(_named(model(images, trained_on)), None)
            detections, losses = _evaluated(model, images, trained_on)
        return Found(_named(losses), [_ours(found, labels) for found in detections])

    def losses(self, output: Found, targets: Any) -> Mapping[str, Tensor]:
        """Those of the network."""
        return output.losses

    def sums(self, output: Found, targets: Any, *, training: bool) -> Tensor:
        """Nothing: the average precision is no sum."""
        return next(iter(output.losses.values())).new_zeros(0)

    def meter(self, *, training: bool) -> Meter | None:
        """The average precision; not in training, where a network gives no detections."""
        return None if training else _Meter(self._iou_types)

    def judge(self) -> Judge:
        """The average precision of boxes."""
        return _Judge()

    def score(self, loss: float, sums: Sequence[float], images: int) -> Scored:
        """The losses by name; what the meter measures is NaN yet."""
        make: Any = namedtuple
        values = {"loss": loss, **dict(zip(self.scoring.losses, sums, strict=True))}
        measures = self.scoring.measures
        return make("Score", measures)(*(values.get(name, math.nan) for name in measures))  # type: ignore[no-any-return]

    def after_epoch(self, model: nn.Module, epoch: int, folder: Path) -> None:
        """Draw what is found in the first test images, for ``stripe.plots.predictions``."""
        if self._data is not None:
            write_predictions(folder, epoch, self.pictures(model, self._data))

    def pictures(self, model: nn.Module, data: Data, count: int = COUNT) -> dict[str, npt.NDArray[np.uint8]]:
        """What is found in the first test images, and the truth, see ``stripe.tasks.drawing.pictures_of``."""
        data = self.needed(data)

        def run(batch: Batch, targets: Any) -> list[dict[str, Tensor]]:
            return self.forward(model, batch, targets).detections or []

        def draw(image: Tensor, target: Mapping[str, Tensor], found: Any) -> tuple[Tensor, Tensor]:
            return draw_objects(image, target, data.classes), draw_objects(image, found, data.classes)

        return pictures_of(model, data, run, draw, count)


class _Meter:
    """Average precision of detections, of those things that ``AveragePrecision`` compares."""

    def __init__(self, iou_types: tuple[str, ...]) -> None:
        self._precision = AveragePrecision(iou_types)

    def update(self, output: Found, targets: Any) -> None:
        """Take in a batch."""
        self._precision.update(output.detections or [], targets)

    def compute(self) -> dict[str, float]:
        """See ``AveragePrecision.compute``."""
        return self._precision.compute()


class _Judge:
    """The average precision of the boxes in some of the images alone."""

    def __init__(self) -> None:
        self._precision = PrecisionOfSome()

    def update(self, output: Found, targets: Any) -> None:
        """Take in a batch."""
        self._precision.update(output.detections or [], targets)

    def without(self, groups: Sequence[Sequence[int]]) -> list[float]:
        """See ``PrecisionOfSome.without``."""
        return self._precision.without(groups)


def _scoring(losses: Sequence[str], iou_types: Sequence[str]) -> Scoring:
    precisions = AveragePrecision.names(iou_types)
    return Scoring(
        ("loss", *losses, *precisions),
        best="ap",
        losses=tuple(losses),
        labels=precisions | {"rpn_box": "rpn box"},
        units=dict.fromkeys(precisions, "%"),
    )


def _of_model(target: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """What a network is trained on: no crowds, no boxes without area, and its own labels, (C,) of each class."""
    boxes = target["boxes"]
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    if "iscrowd" in target:
        kept &= ~target["iscrowd"].bool()
    own = {"boxes": boxes[kept], "labels": labels[target["labels"][kept]]}
    return own | {"masks": target["masks"][kept]} if "masks" in target else own


def _ours(found: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """Detections with labels in 0..C−1; others, such as the background, which RetinaNet may give, are left out."""
    same = found["labels"][:, None] == labels
    kept = same.any(1)
    return {name: same.int().argmax(1)[kept] if name == "labels" else value[kept] for name, value in found.items()}


def _named(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {NAMES.get(name, name): value for name, value in losses.items()}


def _evaluated(
    model: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """The detections and the losses of a network in evaluation mode, from one pass through its backbone.

    Whether losses are computed is asked of the flag ``training`` of the network and of its two heads; no normalisation
    or dropout in them sees that it is set.
    """
    asked = [module for name in ("", "rpn", "roi_heads") if (module := getattr(model, name, None) if name else model)]
    devices = [images[0].device] if images[0].is_cuda else []
    with _remembered(model.backbone), torch.random.fork_rng(devices):  # type: ignore[arg-type]
        detections = model(images)
        torch.manual_seed(SEED)
        for module in asked:
            module.training = True
        try:
            losses = model(images, targets)
        finally:
            for module in asked:
                module.training = False
    return detections, losses


@contextmanager
def _remembered(backbone: nn.Module) -> Iterator[None]:
    """Within, a backbone computes its feature maps once and gives them again when it is called the second time."""
    forward, own = backbone.forward, vars(backbone).get("forward")
    known: list[Any] = []

    def remember(*args: Any, **kwargs: Any) -> Any:
        if not known:
            known.append(forward(*args, **kwargs))
        return copy.copy(known[0])

    backbone.forward = remember
    try:
        yield
    finally:
        del backbone.forward
        if own is not None:
            backbone.forward = own
