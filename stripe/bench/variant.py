"""Names of networks with what was done to them, as ``resnet164+asr(se)+fused``."""

import re
from dataclasses import dataclass
from typing import Self

from torch import nn

from stripe import asr, models
from stripe.errors import StripeError

__all__ = ["Variant"]


@dataclass(frozen=True)
class Variant:
    """A backbone, attention in its blocks, ASR at its known places, and whether that was fused.

    Attributes:
        backbone: As for `stripe.models.build`.
        attention: κ in every block, ``"none"`` without.
        asr: κ of ASR, ``"none"`` without.
        fused: Whether ASR, and branches that are added up, are in the weights.

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
        """Read a name: a backbone, then ``+κ``, ``+asr(κ)`` and ``+fused``, each at most once.

        Raises:
            StripeError: It is not of that form.
        """
        backbone, *additions = (part.strip() for part in text.split("+"))
        found: dict[str, str] = {}
        for addition in additions:
            if addition == "fused":
                key, value = "fused", "fused"
            elif match := re.fullmatch(r"asr\(\s*([\w-]+)\s*\)", addition):
                key, value = "asr", match[1]
            elif re.fullmatch(r"[\w-]+", addition) and addition != "asr":
                key, value = "attention", addition
            else:
                raise StripeError(f"{text!r}: {addition!r} is none of +se (or another attention), +asr(se), +fused")
            if key in found:
                raise StripeError(f"{text!r} says its {key} twice")
            found[key] = value
        if not backbone:
            raise StripeError(f"{text!r} names no network; write resnet164, or resnet164+asr(se)+fused")
        return cls(backbone, found.get("attention", "none"), found.get("asr", "none"), "fused" in found)

    def __str__(self) -> str:
        parts = [self.backbone]
        parts += [self.attention] if self.attention != "none" else []
        parts += [f"asr({self.asr})"] if self.asr != "none" else []
        return "+".join([*parts, "fused"] if self.fused else parts)

    def build(self, num_classes: int | None = None) -> nn.Module:
        """The network with random weights, in evaluation mode, on the CPU.

        Args:
            num_classes: As for `stripe.models.build`.

        Raises:
            StripeError: A name is unknown, attention does not go there, or there is nothing to fuse.
        """
        model = models.build(self.backbone, num_classes=num_classes, attention=self.attention).eval()
        if self.asr != "none":
            asr.reparameterize(model, attention=self.asr)
        if self.fused:
            asr.fuse(model, inplace=True)
            if not models.fuse_branches(model) and self.asr == "none":
                raise StripeError(f"{self}: there is neither ASR nor branches to fuse")
        return model
