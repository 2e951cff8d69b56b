"""``deeplabv3:BACKBONE`` and ``fcn:BACKBONE``: torchvision's segmenters on any classifier.

On a ResNet of torchvision (of bottlenecks) or timm the last two stages are dilated, so that maps have stride 8, and
``deeplabv3:torchvision:resnet50`` has the keys of torchvision's ``deeplabv3_resnet50``; maps of other classifiers keep
the stride of their last stage. On our networks for small images (stride 4) the head of DeepLabV3 is narrow, and its
dilations are smaller.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torchvision.models.segmentation import FCN, DeepLabV3
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.models.segmentation.fcn import FCNHead

from stripe.errors import StripeError
from stripe.models.backbones import Backbone
from stripe.models.spec import Range
from stripe.models.third_party import building, chosen

__all__ = ["SegmenterOptions", "build", "dilated"]

OUTPUTS = 21
"""Of networks for Pascal VOC: its classes and the background."""


@dataclass(frozen=True)
class SegmenterOptions:
    """What of a segmenter can be chosen.

    Attributes:
        width: Channels of the head of DeepLabV3.
        atrous_rates: Dilations of its three convolutions side by side.
    """

    width: int = field(default=256, metadata={"range": Range(1)})
    atrous_rates: tuple[int, int, int] = (12, 24, 36)


def build(
    head: str, name: str, classifier: nn.Module, *, num_classes: int | None, small: bool, args: Mapping[str, Any]
) -> nn.Module:
    """Build a segmenter.

    Args:
        head: ``"deeplabv3"`` or ``"fcn"``.
        name: The name of the classifier, for messages.
        classifier: The classifier, whose weights become those of the backbone.
        num_classes: The number of classes and the background; None: 21, Pascal VOC's.
        small: Whether the classifier is one of our own, for small images.
        args: Fields of ``SegmenterOptions``, which an FCN has no use for.

    Returns:
        The segmenter, of torchvision's class, images (N, 3, H, W) → ``{"out": logits (N, num_classes, H, W)}``.

    Raises:
        StripeError: The classifier cannot be a backbone, or an argument is not known.
    """
    spec = f"{head}:{name}"
    options, unknown = chosen(spec, SegmenterOptions(64, (6, 12, 18)) if small else SegmenterOptions(), args)
    if unknown:
        known = "width, atrous_rates, frozen_norm and backbone_args"
        raise StripeError(f"{spec} takes no argument {next(iter(unknown))!r}; there are {known}")
    backbone = Backbone(classifier, name)
    last = backbone.stages[-1]
    body = backbone.body({"out": last})
    outputs = OUTPUTS if num_classes is None else num_classes
    if head == "fcn":
        return FCN(body, FCNHead(last.channels, outputs))  # type: ignore[no-any-return]
    with building(spec):
        return DeepLabV3(body, _deeplab_head(last.channels, options, outputs))  # type: ignore[no-any-return]


def dilated(backbone: str) -> dict[str, Any]:
    """The arguments of a classifier with which its maps have stride 8; none where it has no such arguments."""
    source, _, name = backbone.partition(":")
    if source == "torchvision" and "resne" in name and name not in ("resnet18", "resnet34"):
        return {"replace_stride_with_dilation": [False, True, True]}
    if source == "timm":
        from timm.models import is_model_in_modules

        return {"output_stride": 8} if is_model_in_modules(name, ["resnet"]) else {}
    return {}


def _deeplab_head(channels: int, options: SegmenterOptions, outputs: int) -> nn.Sequential:
    """The ``DeepLabHead`` of torchvision, of any width."""
    width = options.width
    return nn.Sequential(
        ASPP(channels, options.atrous_rates, width),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, outputs, 1),
    )
