"""Modules whose structure is searched: five ways to put channel and spatial attention together, weighed by α.

The weights of the ways are a softmax of α, which a search trains along with the network ("Attention Module",
section 2; the search itself is that of Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019,
https://arxiv.org/abs/1806.09055). The way with the largest weight is then built into the network by its name.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from stripe.attention.base import Attention
from stripe.attention.cbam import CBAM
from stripe.attention.mvam import MVAM
from stripe.attention.registry import register
from stripe.errors import StripeError

__all__ = ["OPERATIONS", "SSCBAM", "SSMVAM", "MixedAttention"]

OPERATIONS = ("identity", "ca>sa", "sa>ca", "ca", "sa")
"""The ways, in the order of α: the map as it is; channel, then spatial attention; the reverse; one of them alone."""


class MixedAttention(Attention):
    """Five ways to put two halves together, in one module: their outputs, weighed by p = softmax(α) and added up.

    ``y = p₀·x + p₁·SA(CA(x)) + p₂·CA(SA(x)) + p₃·CA(x) + p₄·SA(x)``. As in the formula, CA and SA are one module each,
    which the ways share. A network captured in this state has four attention sites per block: ``channel`` and
    ``spatial`` are the gates of x, ``spatial#2`` that of CA(x) and ``channel#2`` that of SA(x).

    Parameters: those of both halves, 2·C·h + 2·k², and the five numbers of α, which begin as 0.

    Args:
        channels: C, the number of channels of the maps.
        reduction: r of the channel half.
        kernel_size: k of the spatial half, odd.

    Attributes:
        halves_of: The module that CA and SA are halves of.
        family: Its name: what is found is built by ``FAMILY:ORDER``.
        alpha: α, (5,), in the order of ``OPERATIONS``.
    """

    kind = "both"
    options: ClassVar = {"k": "kernel_size"}
    halves_of: ClassVar[type[CBAM]]
    family: ClassVar[str]

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        channel, spatial = self.halves_of.halves
        self.channel = channel(channels, reduction)
        self.spatial = spatial(kernel_size)
        self.kernel_size = kernel_size
        self.alpha = nn.Parameter(torch.zeros(len(OPERATIONS)))

    def weights(self) -> Tensor:
        """P = softmax(α), (5,), in the order of ``OPERATIONS``; float32."""
        return self.alpha.softmax(0, dtype=torch.float32)

    def gate(self, x: Tensor) -> Tensor:
        """The sum of the weighed gates, the identity's being 1: maps (N, C, H, W) → v (N, C, H, W)."""
        p = self.weights().to(x.dtype)
        channel, spatial = self.channel.gate(x), self.spatial.gate(x)
        after_channel, after_spatial = self.spatial.gate(x * channel), self.channel.gate(x * spatial)
        return p[0] + channel * (p[1] * after_channel + p[3]) + spatial * (p[2] * after_spatial + p[4])

    def constant(self, psi: Tensor) -> Tensor:
        """Refused on account of the spatial half."""
        raise StripeError(
            f"{type(self).__name__} weighs the positions of a map in three of its five ways, and a constant ψ has "
            "none, so it cannot be used for ASR; the halves that weigh channels alone can"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → the weighed sum of the five ways, of the same shape."""
        p = self.weights().to(x.dtype)
        channel, spatial = self.channel(x), self.spatial(x)
        y = torch.addcmul(p[0] * x, self.spatial(channel), p[1])
        y = torch.addcmul(y, self.channel(spatial), p[2])
        return torch.addcmul(torch.addcmul(y, channel, p[3]), spatial, p[4])


@register("sscbam", place=20)
class SSCBAM(MixedAttention):
    """The search among the ways to put the halves of CBAM together; see ``MixedAttention``.

    Example:
        >>> SSCBAM(64).weights()
        tensor([0.2000, 0.2000, 0.2000, 0.2000, 0.2000], grad_fn=<SoftmaxBackward0>)
    """

    halves_of = CBAM
    family = "cbam"


@register("ssmvam", place=21)
class SSMVAM(MixedAttention):
    """The search among the ways to put the halves of MVAM together; see ``MixedAttention``."""

    halves_of = MVAM
    family = "mvam"
