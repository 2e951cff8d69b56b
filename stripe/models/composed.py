"""Names of networks that find objects or label pixels: ``HEAD:BACKBONE``, and torchvision's own; without torch."""

from typing import Literal, NamedTuple

from stripe.errors import StripeError

__all__ = ["DETECTORS", "SEGMENTERS", "Composed", "TaskName", "parse", "task_of"]

TaskName = Literal["classification", "detection", "segmentation", "style"]

DETECTORS = ("maskrcnn", "fasterrcnn", "retinanet")
SEGMENTERS = ("deeplabv3", "fcn")

_OF_TORCHVISION: dict[str, TaskName] = {
    **dict.fromkeys((*DETECTORS, "keypointrcnn", "fcos", "ssd", "ssd300", "ssdlite", "ssdlite320"), "detection"),
    **dict.fromkeys((*SEGMENTERS, "lraspp"), "segmentation"),
}
"""The first word of the name of a network of torchvision that is no classifier."""


class Composed(NamedTuple):
    """A detector or segmenter by its parts.

    Attributes:
        head: One of ``DETECTORS`` or ``SEGMENTERS``.
        backbone: The name of a classifier, as for ``stripe.models.build``.
    """

    head: str
    backbone: str


def parse(spec: str) -> Composed | None:
    """The parts of a name of the form ``HEAD:BACKBONE``; None for other names.

    Raises:
        StripeError: No backbone is named, or it is no classifier.

    Example:
        >>> parse("maskrcnn:timm:seresnet50")
        Composed(head='maskrcnn', backbone='timm:seresnet50')
    """
    head, _, backbone = spec.partition(":")
    if head not in (*DETECTORS, *SEGMENTERS):
        return None
    if not backbone:
        raise StripeError(f"{spec!r} names no backbone: write {head}:resnet20, {head}:torchvision:resnet50 …")
    if task_of(backbone) != "classification":
        raise StripeError(f"{backbone} cannot be the backbone of a {head}: that is a classifier")
    return Composed(head, backbone)


def task_of(spec: str) -> TaskName:
    """What a network does, by its name alone.

    Args:
        spec: A name, as for ``stripe.models.build``.

    Returns:
        ``"detection"``, ``"segmentation"``, ``"style"`` or, for all other names, ``"classification"``.

    Example:
        >>> task_of("maskrcnn:resnet20"), task_of("torchvision:fcn_resnet50"), task_of("timm:resnet50")
        ('detection', 'segmentation', 'classification')
    """
    source, _, name = spec.partition(":")
    if spec == "style":
        return "style"
    if source in DETECTORS:
        return "detection"
    if source in SEGMENTERS:
        return "segmentation"
    return (
        _OF_TORCHVISION.get(name.partition("_")[0], "classification") if source == "torchvision" else "classification"
    )
