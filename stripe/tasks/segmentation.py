"""The class of every pixel: cross-entropy, and the mean intersection over union."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stripe.adapter import Batch, logits_of
from stripe.data import Augmentation, Data, Split
from stripe.data.objects import UNKNOWN
from stripe.errors import StripeError
from stripe.tasks.base import Judge, Place, Task
from stripe.tasks.drawing import COUNT, draw_classes, pictures_of, write_predictions
from stripe.tasks.options import SegmentationOptions
from stripe.tasks.registry import register
from stripe.tasks.scoring import Scoring

__all__ = ["Maps", "Segmentation", "SegmentationScore"]

logger = logging.getLogger(__name__)


class SegmentationScore(NamedTuple):
    """How well a segmenter does.

    Attributes:
        loss: Mean over the images of the loss.
        miou: Mean over the classes, the background included, of the intersection over union in per cent; without those
            that occur neither in the truth nor in what was found.
        pixel_accuracy: Per cent of the pixels whose class gets the highest logit.
    """

    loss: float
    miou: float
    pixel_accuracy: float


class Maps(NamedTuple):
    """What a segmenter gives for a batch.

    Attributes:
        out: For each image logits, float32 (K, H, W), at its own size.
        aux: The same of the second output; None where there is none.
    """

    out: list[Tensor]
    aux: list[Tensor] | None


@register
class Segmentation(Task):
    """Tell the class of every pixel.

    Targets are a list with a dictionary for each image, whose ``segmentation`` is uint8 (H, W): 0 the background, k + 1
    class k, and 255 unknown. The loss of an image is the mean cross-entropy over its known pixels, plus that of the
    network's second output, ``aux``, times ``aux_weight``.

    Images of different sizes are brought to one by black and unknown pixels in training; outside of it each is computed
    with those of its own size.

    Args:
        classes: How many classes the data has.
        options: Loss and augmentation; None: as by default.

    Attributes:
        positions: The network's output of each class of the data; None: those from 1 on, in order. Output 0 is the
            background.
    """

    name: ClassVar[str] = "segmentation"
    scoring: Scoring = Scoring(
        ("loss", "miou", "pixel_accuracy"),
        best="miou",
        labels={"miou": "mIoU", "loss": "cross-entropy"},
        units={"miou": "%", "pixel_accuracy": "%"},
    )
    options: ClassVar[type | None] = SegmentationOptions

    def __init__(self, classes: int, options: SegmentationOptions | None = None) -> None:
        super().__init__(options)
        self.classes = classes
        self.positions: Sequence[int] | None = None
        self._data: Data | None = None

    @classmethod
    def of_data(cls, data: Data, options: SegmentationOptions | None = None) -> Self:
        """The task of telling the data's classes apart, pixel by pixel.

        Raises:
            StripeError: The data has no classes of pixels.
        """
        if "segmentation" not in data.annotations:
            raise StripeError(
                f"The images of {data.spec} have no class of each pixel, which a segmenter is trained on: give data "
                "such as scenes, coco:DIR or voc:DIR."
            )
        if options and data.image_size and options.crop != SegmentationOptions().crop:
            logger.warning("crop=%d has no effect: all images have one size, which is trained on whole", options.crop)
        return cls(len(data.classes), options)

    def prepare(self, model: nn.Module, data: Data, compute: Place) -> None:
        """Keep the data, of which images are drawn after each epoch."""
        self._data = data

    def needed(self, data: Data) -> Data:
        """The data with the classes of the pixels alone."""
        return data.with_annotations(["segmentation"])

    def outputs(self, data: Data) -> int:
        """One for each class, and one for the background."""
        return len(data.classes) + 1

    def augmentation(self, split: Split) -> Augmentation:
        """Scaled, cropped and flipped at random, as the options say."""
        size = split.image_size or self.chosen.crop
        return Augmentation(scale=self.chosen.scale, crop=size, photometric=self.chosen.photometric)

    def forward(self, model: nn.Module, batch: Batch, targets: Any) -> Maps:
        """The logits of each image, in float32.

        Raises:
            StripeError: The network gives no logits of pixels, or fewer than there are classes.
        """
        images = list(batch.images)
        groups: dict[Any, list[int]] = {}
        for place, image in enumerate(images):
            groups.setdefault(() if model.training else image.shape, []).append(place)
        out: list[Any] = [None] * len(images)
        aux: list[Any] = [None] * len(images)
        for places in groups.values():
            stacked = _stacked([images[place] for place in places])
            given = super().forward(model, batch.replaced(stacked), targets)
            first = self._checked(logits_of(given), stacked, model)
            second = given.get("aux") if isinstance(given, Mapping) else None
            if second is not None and self.positions is not None:
                second = second[:, self._order(second.shape[1])]
            for row, place in enumerate(places):
                height, width = images[place].shape[-2:]
                out[place] = first[row, :, :height, :width].float()
                aux[place] = None if second is None else second[row, :, :height, :width].float()
        return Maps(out, None if aux[0] is None else aux)

    def _checked(self, logits: Tensor | None, images: Tensor, model: nn.Module) -> Tensor:
        """The logits, if they are as wanted."""
        kind = type(model).__name__
        if logits is None or logits.ndim != 4 or logits.shape[-2:] != images.shape[-2:]:
            raise StripeError(
                f"{kind} gives no class of each pixel: give a model such as deeplabv3:resnet20, fcn:resnet20 or "
                "torchvision:deeplabv3_resnet50."
            )
        if logits.shape[1] < self.classes + 1:
            raise StripeError(
                f"{kind} tells {logits.shape[1]} classes apart, but the data has {self.classes} and the background."
            )
        return logits if self.positions is None else logits[:, self._order(logits.shape[1])]

    def _order(self, outputs: int) -> list[int]:
        """The outputs of the background and of the data's classes, and the others behind."""
        own = [0, *(self.positions or ())]
        return own + [output for output in range(outputs) if output not in own]

    def losses(self, output: Maps, targets: Any) -> Mapping[str, Tensor]:
        """The mean over the images of their cross-entropies."""
        found = {"cross_entropy": _cross_entropy(output.out, targets)}
        if output.aux is not None:
            found["aux"] = self.chosen.aux_weight * _cross_entropy(output.aux, targets)
        return found

    def sums(self, output: Maps, targets: Any, *, training: bool) -> Tensor:
        """The confusion matrix: how many pixels of each class (rows) were taken for which; a column more for others."""
        kinds = self.classes + 1
        # Whole numbers: float32 counts no further than 2²⁴, which a batch of large images has in pixels.
        counts = torch.zeros(kinds * (kinds + 1), dtype=torch.int64, device=output.out[0].device)
        for logits, target in zip(output.out, targets, strict=True):
            truth = target["segmentation"].long()
            known = truth < kinds
            found = logits.detach().argmax(0).clamp_max(kinds)
            place = torch.where(known, truth, 0) * (kinds + 1) + found
            counts.scatter_add_(0, place.flatten(), known.flatten().long())
        return counts

    def judge(self) -> Judge:
        """The mean intersection over union."""
        return _Judge(self)

    def score(self, loss: float, sums: Sequence[float], images: int) -> SegmentationScore:
        """See ``SegmentationScore``."""
        matrix = np.asarray(sums, dtype=np.float64).reshape(self.classes + 1, -1)
        right = matrix.diagonal()
        union = matrix.sum(1) + matrix.sum(0)[:-1] - right
        occurring = union > 0
        total = matrix.sum()
        miou = float((right[occurring] / union[occurring]).mean()) if occurring.any() else math.nan
        return SegmentationScore(loss, 100 * miou, 100 * float(right.sum() / total) if total else math.nan)

    def after_epoch(self, model: nn.Module, epoch: int, folder: Path) -> None:
        """Draw what is found in the first test images, for ``stripe.plots.predictions``."""
        if self._data is not None:
            write_predictions(folder, epoch, self.pictures(model, self._data))

    def pictures(self, model: nn.Module, data: Data, count: int = COUNT) -> dict[str, npt.NDArray[np.uint8]]:
        """The classes that are found in the first test images, and the truth, as ``Detection.pictures``."""

        def run(batch: Batch, targets: Any) -> list[Tensor]:
            return [logits.argmax(0) for logits in self.forward(model, batch, targets).out]

        def draw(image: Tensor, target: Mapping[str, Tensor], found: Any) -> tuple[Tensor, Tensor]:
            truth = target["segmentation"]
            return draw_classes(image, truth, data.classes), draw_classes(image, found, data.classes)

        return pictures_of(model, self.needed(data), run, draw, count)


class _Judge:
    """The mean intersection over union of some of the images alone.

    Args:
        task: What counts pixels and scores them.
    """

    def __init__(self, task: Segmentation) -> None:
        self._task = task
        self._counts: list[Tensor] = []

    def update(self, output: Maps, targets: Any) -> None:
        """Take in a batch."""
        for logits, target in zip(output.out, targets, strict=True):
            self._counts.append(self._task.sums(Maps([logits], None), [target], training=False).cpu())

    def without(self, groups: Sequence[Sequence[int]]) -> list[float]:
        """The measure, in per cent, of all images but those of a group."""
        each = torch.stack(self._counts)
        lacking = [each[list(group)].sum(0) for group in groups]
        return [self._task.score(0.0, (each.sum(0) - out).tolist(), 0).miou for out in lacking]


def _stacked(images: Sequence[Tensor]) -> Tensor:
    """Images as one tensor, of the largest height and width; what is added has the mean colour of normalised images."""
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    return torch.stack([F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images])


def _cross_entropy(logits: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """The mean over the images of the mean over their known pixels; 0 of an image that has none."""
    each = []
    for own, target in zip(logits, targets, strict=True):
        truth = target["segmentation"].long()
        known = (truth != UNKNOWN).sum().clamp_min(1)
        each.append(F.cross_entropy(own[None], truth[None], ignore_index=UNKNOWN, reduction="sum") / known)
    return torch.stack(each).mean()
