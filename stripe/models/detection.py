"""``maskrcnn:BACKBONE``, ``fasterrcnn:BACKBONE``, ``retinanet:BACKBONE``: torchvision's detectors on any classifier.

On backbones of torchvision and timm they are what torchvision's own are: levels of a feature pyramid from stride 4
(RetinaNet: 8) on, 256 channels, anchors of 8 (4) times the stride, images of 800 to 1,333 pixels. So
``maskrcnn:torchvision:resnet50`` has the keys of torchvision's ``maskrcnn_resnet50_fpn``.

Our networks for small images reach stride 4 only, in three stages. On these, detectors are for images of 96 to 128
pixels with objects of 10 to 90: images keep their sizes; levels begin at stride 2 (RetinaNet: 4) and reach 8 (16);
anchors of 14 to 79 pixels (12 to 76) on these; and the heads are narrow, and see fewer proposals, so that they are
trained on a CPU.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from stripe.errors import StripeError
from stripe.models.backbones import Backbone, Pyramid
from stripe.models.spec import Range
from stripe.models.third_party import building, chosen, refuse_arguments, refuse_unknown

__all__ = ["DetectorOptions", "build", "normalizes_itself", "outputs_of"]

OUTPUTS = 91
"""Of networks for COCO: its classes, with gaps in their numbers, and the background."""

CLASSES: dict[str, Any] = {"maskrcnn": MaskRCNN, "fasterrcnn": FasterRCNN, "retinanet": RetinaNet}

RESERVED = (
    *("backbone", "num_classes", "rpn_anchor_generator", "rpn_head", "anchor_generator", "head"),
    *(f"{kind}_{part}" for kind in ("box", "mask") for part in ("roi_pool", "head", "predictor")),
)


@dataclass(frozen=True)
class DetectorOptions:
    """What of a detector can be chosen besides the arguments of torchvision's class.

    Attributes:
        first_stride: Stride of the finest level of the pyramid, in pixels.
        width: Channels of the pyramid, and of the convolutions of the heads.
        box_width: Features of the two layers that classify a proposal (Mask R-CNN, Faster R-CNN).
        anchor_sizes: Sides of square anchors in pixels, a list for each level, all of one length; None: chosen by the
            strides of the levels.
        aspect_ratios: Height by width of the anchors.
    """

    first_stride: int = field(metadata={"range": Range(1)})
    width: int = field(default=256, metadata={"range": Range(1)})
    box_width: int = field(default=1024, metadata={"range": Range(1)})
    anchor_sizes: list[list[int]] | None = None
    aspect_ratios: list[float] = field(default_factory=lambda: [0.5, 1.0, 2.0])


SMALL: dict[str, dict[str, Any]] = {
    "retinanet": {"topk_candidates": 300, "detections_per_img": 50},
    "fasterrcnn": {
        "rpn_pre_nms_top_n_train": 500,
        "rpn_pre_nms_top_n_test": 300,
        "rpn_post_nms_top_n_train": 200,
        "rpn_post_nms_top_n_test": 100,
        "rpn_batch_size_per_image": 128,
        "box_batch_size_per_image": 64,
        "box_detections_per_img": 50,
    },
}
"""Arguments of torchvision's classes on our own networks, where others are not given."""
SMALL["maskrcnn"] = SMALL["fasterrcnn"]


class OwnSizes(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Images are normalised and put into a batch, but keep their sizes."""

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Image and target as they are."""
        return image, target


def build(
    head: str, name: str, classifier: nn.Module, *, num_classes: int | None, small: bool, args: Mapping[str, Any]
) -> nn.Module:
    """Build a detector.

    Args:
        head: ``"maskrcnn"``, ``"fasterrcnn"`` or ``"retinanet"``.
        name: The name of the classifier, for messages.
        classifier: The classifier, whose weights become those of the backbone.
        num_classes: The number of classes and the background; None: 91, COCO's.
        small: Whether the classifier is one of our own, for small images.
        args: Fields of ``DetectorOptions`` and arguments of torchvision's class, which win over the defaults.

    Returns:
        The detector, of torchvision's class.

    Raises:
        StripeError: The classifier cannot be a backbone, or an argument does not fit.
    """
    spec = f"{head}:{name}"
    refuse_arguments(spec, args, RESERVED)
    one_stage = head == "retinanet"
    if small:
        default = DetectorOptions(first_stride=4 if one_stage else 2, width=64, box_width=256)
    else:
        default = DetectorOptions(first_stride=8 if one_stage else 4)
    options, rest = chosen(spec, default, args)
    kind = CLASSES[head]
    refuse_unknown(spec, rest, (kind, GeneralizedRCNNTransform))
    backbone = Backbone(classifier, name)
    stages = [stage for stage in backbone.stages if stage.stride >= options.first_stride]
    if not stages:
        strides = ", ".join(str(stage.stride) for stage in backbone.stages)
        raise StripeError(f"{spec}: the stages of {name} have the strides {strides}, none {options.first_stride}")
    levels = [stage.stride for stage in stages]
    extra: ExtraFPNBlock | None = None
    if not small or levels[-1] <= 4:
        extra = LastLevelP6P7(options.width, options.width) if one_stage else LastLevelMaxPool()
        levels += [2 * levels[-1], 4 * levels[-1]] if one_stage else [2 * levels[-1]]
    pyramid = Pyramid(backbone, stages, options.width, extra)
    sizes = options.anchor_sizes or _anchor_sizes(levels, one_stage, small)
    if len(sizes) != len(levels) or len({len(each) for each in sizes}) > 1:
        raise StripeError(
            f"{spec}: anchor_sizes= has lists of {', '.join(str(len(each)) for each in sizes)} sizes; the levels, of "
            f"the strides {', '.join(map(str, levels))}, need one list each, all of one length"
        )
    anchors = AnchorGenerator(tuple(map(tuple, sizes)), (tuple(options.aspect_ratios),) * len(sizes))
    own = small and not {"min_size", "max_size", "fixed_size"} & set(args)
    if small:
        rest = {"size_divisible": levels[-1], **SMALL[head], **rest}
    outputs = OUTPUTS if num_classes is None else num_classes
    with building(spec):
        if one_stage:
            model = kind(pyramid, outputs, anchor_generator=anchors, **rest)
        else:
            heads = _heads(head, options, len(stages), outputs, small)
            model = kind(pyramid, rpn_anchor_generator=anchors, **heads, **rest)
    if own:
        old = model.transform
        model.transform = OwnSizes(0, 0, old.image_mean, old.image_std, size_divisible=old.size_divisible)
    return model  # type: ignore[no-any-return]


def normalizes_itself(model: nn.Module) -> bool:
    """Whether a network normalises its images, given in 0..1, itself, as torchvision's detectors do.

    Example:
        >>> from stripe.models import build
        >>> normalizes_itself(build("retinanet:resnet11")), normalizes_itself(build("fcn:resnet11"))
        (True, False)
    """
    return isinstance(getattr(model, "transform", None), GeneralizedRCNNTransform)


def outputs_of(model: nn.Module) -> int | None:
    """The number of classes that a detector or segmenter tells apart, the background included.

    Args:
        model: A network with the heads of torchvision's.

    Returns:
        The number; None of another network.

    Example:
        >>> from stripe.models import build
        >>> outputs_of(build("retinanet:resnet11", num_classes=4)), outputs_of(build("resnet11"))
        (4, None)
    """
    if normalizes_itself(model):
        heads = getattr(model, "roi_heads", None)
        predictor = getattr(getattr(heads, "box_predictor", None), "cls_score", None)
        if predictor is not None:
            return int(predictor.out_features)
        head = getattr(getattr(model, "head", None), "classification_head", None)
        found = getattr(head, "num_classes", getattr(head, "num_columns", None))
        return None if found is None else int(found)
    if not isinstance(getattr(model, "backbone", None), nn.Module):
        return None
    head = getattr(model, "classifier", None)
    convolutions = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)] if head is not None else []
    return convolutions[-1].out_channels if convolutions else None


def _anchor_sizes(strides: list[int], one_stage: bool, small: bool) -> list[list[int]]:
    """Sides of the anchors of each level, in pixels."""
    if one_stage:  # three for each octave
        first = [3 * stride if small else 4 * stride for stride in strides]
        return [[size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3))] for size in first]
    if small:  # two for each octave
        return [[7 * stride, round(7 * stride * math.sqrt(2))] for stride in strides]
    return [[8 * stride] for stride in strides]


def _heads(head: str, options: DetectorOptions, levels: int, outputs: int, small: bool) -> dict[str, nn.Module]:
    """What looks at a proposal, with torchvision's names; its size decides which of the levels it is cut out of."""
    width, names = options.width, [str(level) for level in range(levels)]
    # The side in pixels of proposals for the level of stride 16; half of torchvision's where objects are small.
    scale = 112 if small else 224
    parts = {
        "box_roi_pool": MultiScaleRoIAlign(names, 7, 2, canonical_scale=scale),
        "box_head": TwoMLPHead(width * 7**2, options.box_width),
        "box_predictor": FastRCNNPredictor(options.box_width, outputs),
    }
    if head == "maskrcnn":
        parts |= {
            "mask_roi_pool": MultiScaleRoIAlign(names, 14, 2, canonical_scale=scale),
            "mask_head": MaskRCNNHeads(width, (width,) * 4, 1),
            "mask_predictor": MaskRCNNPredictor(width, width, outputs),
        }
    return parts
