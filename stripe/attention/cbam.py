"""Convolutional Block Attention Module: channel attention, then spatial attention.

Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, https://arxiv.org/abs/1807.06521,
equations 1–3. As in the paper, and unlike some published code, there is no bias and no normalisation.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stripe.attention.base import Attention, hidden_width
from stripe.attention.registry import register
from stripe.errors import StripeError

__all__ = ["CBAM", "ChannelGate", "SpatialGate"]


@register("cbam-channel", place=3)
class ChannelGate(Attention):
    """The channel half of CBAM: one MLP for the average and for the maximum over positions.

    ``v = σ(MLP(GAP(x)) + MLP(GMP(x)))``, ``MLP(s) = W₂ · relu(W₁ · s)``, with h = max(1, round(C / r)) hidden
    units. Average and maximum of a constant being the same, ``v(ψ) = σ(2 · MLP(ψ))``.

    Parameters: 2·C·h.

    Args:
        channels: C, the number of channels of the maps.
        reduction: r, how many times narrower the hidden layer is.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = hidden_width(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, channels, bias=False)

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, C, 1, 1)."""
        return self.activation(self._mlp(x.mean((2, 3))) + self._mlp(x.amax((2, 3))))[:, :, None, None]

    def _mlp(self, squeezed: Tensor) -> Tensor:
        excited: Tensor = self.fc2(F.relu(self.fc1(squeezed)))
        return excited


class SpatialGate(Attention):
    """The spatial half of CBAM: a convolution over the mean and the maximum across channels.

    ``v = σ(conv_k([mean_c(x); max_c(x)]))`` without bias, zero-padded so that the size stays.

    Parameters: 2·k², 98 for k = 7.

    Args:
        kernel_size: k, odd.
    """

    kind = "spatial"

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, 1, H, W)."""
        return self.activation(self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)))


@register("cbam", place=2)
class CBAM(Attention):
    """Channel attention, then spatial attention of the result: ``y = x' ⊙ v_s(x')`` with ``x' = x ⊙ v_c(x)``.

    It multiplies twice, so it is two attention sites, ``channel`` and ``spatial``.

    Parameters: 2·C·h + 2·k². In ResNet164 (r = 16, k = 7) that is 198,828 in all.

    Args:
        channels: C, the number of channels of the maps.
        reduction: r of the channel half.
        kernel_size: k of the spatial half, odd.

    Example:
        >>> import torch
        >>> CBAM(64).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
    """

    kind = "both"

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel = ChannelGate(channels, reduction)
        self.spatial = SpatialGate(kernel_size)

    def gate(self, x: Tensor) -> Tensor:
        """The product of both gates, v_c ⊙ v_s: maps (N, C, H, W) → v (N, C, H, W)."""
        channel = self.channel.gate(x)
        return channel * self.spatial.gate(x * channel)

    def constant(self, psi: Tensor) -> Tensor:
        """Refused on account of the spatial half; ``ChannelGate`` is the half that has a constant."""
        raise StripeError(
            "CBAM's spatial half weighs the positions of a map, and a constant ψ has none: use cbam-channel, its "
            "channel half"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) times one gate, then the other: cheaper than times their product."""
        refined: Tensor = self.spatial(self.channel(x))
        return refined
