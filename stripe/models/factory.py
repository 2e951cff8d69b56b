"""Names → models.

A plain name is a network for small images (``resnet83``, ``vgg19`` …, see ``stripe.models.small``), or ``style``, which
transforms images (``stripe.models.style``); ``torchvision:NAME``, ``timm:NAME``, ``onnx:FILE`` and
``python:package.module:factory`` are networks as others made them. Any classifier among these may be the BACKBONE of
``maskrcnn:BACKBONE``, ``fasterrcnn:BACKBONE`` and ``retinanet:BACKBONE``, which find objects, and of
``deeplabv3:BACKBONE`` and ``fcn:BACKBONE``, which label pixels.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from stripe.attention import attention_factory, for_every_block
from stripe.data.size import ImageSize
from stripe.errors import StripeError
from stripe.models import composed, small, style
from stripe.models.branches import fuse_branches
from stripe.models.spec import ModelSpec
from stripe.names import did_you_mean

__all__ = ["build", "file_hash", "from_meta", "input_channels", "native_image_size", "native_normalization"]

SOURCES = ("torchvision", "timm", "python", "onnx")


def build(
    spec: str,
    *,
    num_classes: int | None = None,
    attention: str = "none",
    pretrained: bool = False,
    args: Mapping[str, Any] | None = None,
    fused: bool = False,
    image_size: ImageSize | None = None,
) -> nn.Module:
    """Build a model from its name.

    Args:
        spec: A plain name of ``stripe.models.small``, ``style``, ``torchvision:NAME``, ``timm:NAME``, ``onnx:FILE``
            or ``python:package.module:factory``; or ``HEAD:BACKBONE``, where HEAD is ``maskrcnn``, ``fasterrcnn``,
            ``retinanet``, ``deeplabv3`` or ``fcn``, and BACKBONE one of the former.
        num_classes: Outputs of the classifier; of a detector or segmenter, the background included. None: as many as
            published, 10 for plain names, 91 of a detector, 21 of a segmenter.
        attention: Attention in every block, as for ``stripe.attention.attention_factory``: ``se``, ``spsa+se``, or a
            list such as ``se/none/eca`` with one entry for each block; in networks of torchvision and timm at the
            places that ``stripe.models.insertion`` names.
        pretrained: Download published weights (``torchvision:``, ``timm:``), of ``HEAD:BACKBONE`` the backbone's.
        args: Further keyword arguments of the constructor; of plain names only ``style`` and ``resnet18-cifar`` have
            some. Of ``HEAD:BACKBONE`` they are those of ``stripe.models.detection`` or ``stripe.models.segmentation``;
            besides, ``frozen_norm`` freezes the backbone's batch normalisations (those of torchvision's detectors and
            segmenters, too), and ``backbone_args`` are the arguments of the backbone.
        fused: Have one convolution instead of branches that are added up (RepVGG, ACNet), as after
            ``stripe.models.fuse_branches``. No change for other networks.
        image_size: Height and width of the images in pixels, for ``onnx:`` files that leave them open: what the network
            computes is compared with onnxruntime on such images. Others build the same network for all sizes.

    Returns:
        The model in training mode (``onnx:`` in evaluation mode), on the CPU, images (N, 3, H, W) → logits
        (N, num_classes). Detectors and segmenters are called as torchvision's are.

    Raises:
        StripeError: Anything about the request that cannot be, with what to write instead.

    Example:
        >>> model = build("resnet20", num_classes=100, attention="se")
        >>> sum(p.numel() for p in model.parameters())
        265964
    """
    args = args or {}
    if num_classes is not None and num_classes < 1:
        raise StripeError(f"a classifier needs at least one class, not {num_classes}")
    if pretrained and (spec == style.NAME or small.is_small(spec)):
        raise StripeError(f"there are no published weights of {spec}; load a checkpoint instead")
    if parts := composed.parse(spec):
        model = _compose(parts, num_classes, attention, pretrained, args)
    elif spec == style.NAME:
        model = style.build(num_classes, attention, args)
    elif small.is_small(spec):
        model = small.build(spec, 10 if num_classes is None else num_classes, attention, args)
    else:
        model = _third_party(spec, num_classes, pretrained, args, image_size)
        if attention != "none":
            _insert(model, spec, attention)
    if fused:
        fuse_branches(model)
    return model


def native_image_size(spec: str, *, pretrained: bool = False) -> ImageSize | None:
    """Height and width in pixels of the images that a model is made for, one number where they are square.

    Args:
        spec: As for ``build``.
        pretrained: Whether the published weights are used, which may want larger images.

    Returns:
        32 for plain names, what torchvision's or timm's configuration or the ONNX file says for theirs; None for
        ``style``, detectors, segmenters and ``python:`` models, and for ONNX files that leave it open: take the images
        as they are.

    Raises:
        StripeError: The name is not known.
    """
    if small.is_small(spec):
        return small.IMAGE_SIZE
    if composed.task_of(spec) != "classification":
        return None
    source, name = _split(spec)
    if source == "torchvision":
        from stripe.models import from_torchvision

        return from_torchvision.image_size(name, pretrained)
    if source == "timm":
        from stripe.models import from_timm

        return from_timm.image_size(name)
    if source == "onnx":
        from stripe.models import from_onnx

        return from_onnx.image_size(name)
    return None


def native_normalization(spec: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and std, (3,) each, in the range 0..1, of the images that published weights were trained on.

    Args:
        spec: ``torchvision:NAME`` or ``timm:NAME``, or ``HEAD:BACKBONE`` of such a backbone.

    Raises:
        StripeError: The name is not known, or nobody publishes weights of it.
    """
    parts = composed.parse(spec)
    source, name = _split(parts.backbone if parts else spec)
    if source == "torchvision":
        from stripe.models import from_torchvision

        return from_torchvision.normalization(name)
    if source == "timm":
        from stripe.models import from_timm

        return from_timm.normalization(name)
    raise StripeError(f"there are no published weights of {spec}")


def file_hash(spec: str) -> str:
    """The SHA-256 of the file of an ``onnx:`` model, in hexadecimal digits.

    Raises:
        StripeError: It cannot be read.
    """
    from stripe.models import from_onnx

    return from_onnx.sha256(_split(spec)[1])


def input_channels(model: nn.Module) -> int | None:
    """Channels of a network's input: 3 for colour, 1 for grey images; None where its layers don't tell.

    That is what its first convolution takes, in the order in which its modules were made, wherever that is inside
    wrappers. Where it is neither 1 nor 3, pixels may have been moved into channels before (a space-to-depth stem); then
    another convolution of 3 channels tells.

    Args:
        model: Any module, on the meta device, too.

    Example:
        >>> input_channels(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3)))
        1
    """
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    taken = [layer.in_channels for layer in convolutions if layer.in_channels > 0]  # 0: lazy, not known yet
    if taken and taken[0] in (1, 3):
        return taken[0]
    return 3 if 3 in taken else None


def from_meta(meta: Mapping[str, Any]) -> nn.Module:
    """Build the model that one of our checkpoints is of, without its weights.

    Args:
        meta: ``Checkpoint.meta`` with the keys ``model``, ``num_classes`` and, where they were used,
            ``attention``, ``args`` and ``fused``, as for ``build``.

    Raises:
        StripeError: It does not say the model, or the model is the user's own code: a file must not choose
            which code runs.
    """
    spec = ModelSpec.from_meta(meta)
    if spec.model is None:
        raise StripeError("the checkpoint does not say which model it is of; name it with model=")
    if "python:" in spec.model:
        raise StripeError(
            f"the checkpoint is of {spec.model}; code is not run because a file says so: name it yourself with "
            f"model={spec.model!r}"
        )
    if spec.model.startswith("onnx:") and spec.model_sha256 not in (None, file_hash(spec.model)):
        raise StripeError(f"{spec.model} is not the file that the checkpoint was made of: its SHA-256 is another")
    return build(
        spec.model,
        num_classes=spec.num_classes,
        attention=spec.attention,
        args=spec.args,
        fused=spec.fused,
        image_size=spec.image_size,
    )


def _compose(
    parts: composed.Composed, num_classes: int | None, attention: str, pretrained: bool, args: Mapping[str, Any]
) -> nn.Module:
    """A detector or segmenter on a classifier with its own name, attention, weights and arguments."""
    # Imported here because torchvision takes seconds.
    from stripe.models import backbones, detection, segmentation
    from stripe.models.frozen_norm import freeze

    spec, rest = ":".join(parts), dict(args)
    frozen, given = rest.pop("frozen_norm", False), rest.pop("backbone_args", {})
    if not isinstance(frozen, bool) or not isinstance(given, Mapping):
        raise StripeError(f"{spec}: frozen_norm= must be true or false, and backbone_args= a table of arguments")
    finds = parts.head in composed.DETECTORS
    given = given if finds else {**segmentation.dilated(parts.backbone), **given}
    classifier = build(parts.backbone, attention=attention, pretrained=pretrained, args=given)
    make = detection.build if finds else segmentation.build
    plain = small.is_small(parts.backbone)
    model = make(parts.head, parts.backbone, classifier, num_classes=num_classes, small=plain, args=rest)
    if frozen:
        freeze(backbones.backbone_of(model))
    return model


def _insert(model: nn.Module, spec: str, attention: str) -> None:
    from stripe.models.insertion import insert_attention

    if composed.task_of(spec) != "classification":
        raise StripeError(
            f"attention={attention!r} does not go into {spec}, which is as torchvision made it; it goes into the "
            "backbones of others, as in maskrcnn:timm:resnet50, fcn:timm:resnet50 …"
        )
    made = attention_factory(attention)
    try:
        with for_every_block(made) as make:
            insert_attention(model, make)
    except StripeError as error:
        raise StripeError(f"attention={attention!r} does not go into {spec}: {error}") from None


def _third_party(
    spec: str, num_classes: int | None, pretrained: bool, args: Mapping[str, Any], image_size: ImageSize | None
) -> nn.Module:
    source, name = _split(spec)
    # Imported here because timm and torchvision take seconds, and most commands need neither.
    if source == "torchvision":
        from stripe.models import from_torchvision

        return from_torchvision.build(name, num_classes=num_classes, pretrained=pretrained, args=args)
    if source == "timm":
        from stripe.models import from_timm

        return from_timm.build(name, num_classes=num_classes, pretrained=pretrained, args=args)
    if source == "onnx":
        from stripe.models import from_onnx

        return from_onnx.build(name, num_classes=num_classes, pretrained=pretrained, args=args, size=image_size)
    from stripe.models import from_user

    return from_user.build(name, num_classes=num_classes, pretrained=pretrained, args=args)


def _split(spec: str) -> tuple[str, str]:
    """``"timm:x"`` → ``("timm", "x")``."""
    source, colon, name = spec.partition(":")
    if source in SOURCES and name:
        return source, name
    if colon:
        raise StripeError(
            f"unknown model {spec!r}: write torchvision:NAME, timm:NAME, onnx:FILE or python:package.module:factory, "
            f"or one of {', '.join((*composed.DETECTORS, *composed.SEGMENTERS))} and a backbone, as maskrcnn:resnet20"
        )
    from stripe.models import from_timm, from_torchvision

    known = [f"torchvision:{n}" for n in from_torchvision.names()] + [f"timm:{n}" for n in from_timm.names()]
    same = [full for full in known if full.partition(":")[2] == spec]
    hint = f"; did you mean {' or '.join(same)}?" if same else did_you_mean(spec, [*small.NAMES, *known])
    raise StripeError(
        f"unknown model {spec!r}{hint or ':'} there are {', '.join(small.NAMES)}, torchvision:NAME, timm:NAME, "
        "onnx:FILE and python:package.module:factory"
    )
