"""Names of networks with attention and ASR, such as ``resnet164+asr(se)+fused``."""

import re
from dataclasses import dataclass
from typing import Self

from torch import nn

from stripe import asr, checkpoint, models
from stripe.attention import ATTENTION, attention_factory
from stripe.checkpoint.reader import SUFFIXES
from stripe.data import ImageSize
from stripe.errors import StripeError

__all__ = ["Variant"]


@dataclass(frozen=True)
class Variant:
    """A backbone with attention in its blocks, ASR at its known places, or both.

    Attributes:
        backbone: Name of a network, as for ``stripe.models.build``; or path of a checkpoint, trained or folded, which
            keeps its attention.
        attention: Name of the attention module in every block, ``"none"`` without attention.
        asr: Name of the attention module of ASR, ``"none"`` without ASR.
        fused: Whether ASR, and branches that are summed, are fused into the weights.

    Example:
        >>> Variant.parse("resnet164+se+asr(ie)+fused")
        Variant(backbone='resnet164', attention='se', asr='ie', fused=True)
    """

    backbone: str
    attention: str = "none"
    asr: str = "none"
    fused: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a name: a backbone, then ``+κ``, ``+asr(κ)`` and ``+fused``, each at most once.

        κ is attention as for ``stripe.attention.attention_factory``, so that ``+spsa+se`` is one combination.

        Raises:
            StripeError: The name does not have this form.
        """
        files = (*SUFFIXES, ".onnx") if text.startswith("onnx:") else SUFFIXES
        end = max((text.rfind(suffix) + len(suffix) for suffix in files if suffix in text), default=0)
        # The path of a file, and what is in parentheses, may contain a +.
        first, *additions = (part.strip() for part in re.split(r"\+(?![^()]*\))", text[end:]))
        backbone = text[:end].strip() + first
        found: dict[str, str] = {}
        last = ""
        for addition in additions:
            if addition == "fused":
                key, value = "fused", "fused"
            elif match := re.fullmatch(r"asr\(\s*([^\s()]+)\s*\)", addition):
                key, value = "asr", match[1]
            elif re.split("[:,/]", addition)[0] in {"none", *ATTENTION} and addition != "none":
                key, value = "attention", addition
            else:
                known = ", ".join(f"+{name}" for name in ATTENTION)
                raise StripeError(f"{text!r}: {addition!r} is none of {known}, +asr(se) and +fused")
            if key == last == "attention":
                value = f"{found.pop(key)}+{value}"
            if key in found:
                raise StripeError(f"{text!r} says its {key} twice")
            found[key] = value
            last = key
        for name in (found.get("attention", "none"), found.get("asr", "none")):
            attention_factory(name)
        if not backbone:
            raise StripeError(f"{text!r} names no network; write resnet164, or resnet164+asr(se)+fused")
        return cls(backbone, found.get("attention", "none"), found.get("asr", "none"), "fused" in found)

    def __str__(self) -> str:
        parts = [self.backbone]
        parts += [self.attention] if self.attention != "none" else []
        parts += [f"asr({self.asr})"] if self.asr != "none" else []
        return "+".join([*parts, "fused"] if self.fused else parts)

    @property
    def is_checkpoint(self) -> bool:
        """Whether the backbone is the path of a checkpoint."""
        return self.backbone.endswith(SUFFIXES)

    def image_size(self) -> ImageSize | None:
        """Height and width in pixels of the images that the network is made for; None if they are unknown."""
        if not self.is_checkpoint:
            return models.native_image_size(self.backbone)
        spec = checkpoint.read(self.backbone).spec
        return spec.image_size or models.native_image_size(spec.model) if spec.model else None

    def takes_any_size(self) -> bool:
        """Whether the network is a detector or segmenter, which are made for images of no size in particular."""
        spec = checkpoint.read(self.backbone).spec.model if self.is_checkpoint else self.backbone
        return spec is not None and models.task_of(spec) in ("detection", "segmentation")

    def build(self, num_classes: int | None = None, image_size: ImageSize | None = None) -> nn.Module:
        """Build the network in evaluation mode on the CPU, with random weights unless it is a checkpoint.

        Args:
            num_classes: Number of classes, as for ``stripe.models.build``; a checkpoint keeps its own.
            image_size: Height and width of the images in pixels, as there.

        Raises:
            StripeError: A name is unknown, the attention cannot be inserted, or there is nothing to fuse.
        """
        if self.is_checkpoint:
            if self.attention != "none" or self.asr != "none":
                raise StripeError(f"{self}: a checkpoint is measured with the attention and ASR that it has")
            model = checkpoint.restore(checkpoint.read(self.backbone)).eval()
        else:
            model = models.build(
                self.backbone, num_classes=num_classes, attention=self.attention, image_size=image_size
            ).eval()
        if self.asr != "none":
            asr.reparameterize(model, attention=self.asr)
        if self.fused:
            has_asr = any(isinstance(module, asr.ASR) for module in model.modules())
            asr.fuse(model, inplace=True)
            if not models.fuse_branches(model) and not has_asr:
                raise StripeError(f"{self}: there is neither ASR nor branches to fuse")
        return model
