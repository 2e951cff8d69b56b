"""Convolutional Block Attention Module: channel attention, then spatial attention.

Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, https://arxiv.org/abs/1807.06521,
equations 1–3. As in the paper, and unlike some published code, there is no bias and no normalisation.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stripe.attention.base import Attention, hidden_width
from stripe.attention.registry import register
from stripe.errors import StripeError

__all__ = ["CBAM", "ChannelGate", "SpatialGate"]

LARGEST = 127
"""Largest side of a kernel: no map of a network that is trained for images is so wide that more would matter."""

Order = Literal["ca>sa", "sa>ca", "ca|sa"]


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

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the MLP sees of maps (N, C, H, W): average and maximum over positions, (N, C) each."""
        return x.mean((2, 3)), x.amax((2, 3))

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, C, 1, 1)."""
        first, second = self.statistics(x)
        return self.activation(self._mlp(first) + self._mlp(second))[:, :, None, None]

    def _mlp(self, squeezed: Tensor) -> Tensor:
        excited: Tensor = self.fc2(F.relu(self.fc1(squeezed)))
        return excited


class SpatialGate(Attention):
    """The spatial half of CBAM: a convolution over the mean and the maximum across channels.

    ``v = σ(conv_k([mean_c(x); max_c(x)]))`` without bias, zero-padded so that the size stays.

    Parameters: 2·k², 98 for k = 7.

    Args:
        kernel_size: k, odd.

    Raises:
        StripeError: k is even, less than 1 or more than 127.
    """

    kind = "spatial"
    options: ClassVar = {"k": "kernel_size"}

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        if kernel_size > LARGEST:
            raise StripeError(f"kernel_size is {kernel_size}; the kernel of spatial attention has at most {LARGEST}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise StripeError(
                f"kernel_size is {kernel_size}; the kernel of spatial attention has an odd size: 3, 5, 7 …"
            )
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    @classmethod
    def factory(cls, **arguments: Any) -> Any:
        """Makes the modules of one network, whatever the number of channels."""
        return lambda channels: cls(**arguments)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the convolution sees of maps (N, C, H, W): mean and maximum across channels, (N, 1, H, W) each."""
        return x.mean(1, keepdim=True), x.amax(1, keepdim=True)

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, 1, H, W)."""
        return self.activation(self.conv(torch.cat(self.statistics(x), dim=1)))


@register("cbam", place=2)
class CBAM(Attention):
    """Channel attention, then spatial attention of the result: ``y = x' ⊙ v_s(x')`` with ``x' = x ⊙ v_c(x)``.

    It multiplies twice, so it is two attention sites, ``channel`` and ``spatial``. The other orders are those of the
    report on structure search: spatial attention first (``cbam:sa>ca``), half of each in parallel (``cbam:ca|sa``,
    ``y = (x ⊙ v_c(x) + x ⊙ v_s(x)) / 2``), and one half alone (``cbam:ca``, ``cbam:sa``).

    Parameters: 2·C·h + 2·k². In ResNet164 (r = 16, k = 7) that is 198,828 in all.

    Args:
        channels: C, the number of channels of the maps.
        reduction: r of the channel half.
        kernel_size: k of the spatial half, odd.
        order: ``ca>sa``, ``sa>ca`` or ``ca|sa``.

    Example:
        >>> import torch
        >>> CBAM(64).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
    """

    kind = "both"
    options: ClassVar = {"k": "kernel_size"}
    orders = ("ca>sa", "sa>ca", "ca|sa", "ca", "sa")
    halves: ClassVar[tuple[type[ChannelGate], type[SpatialGate]]] = (ChannelGate, SpatialGate)
    channel_half = "cbam-channel"

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7, order: Order = "ca>sa") -> None:
        super().__init__()
        channel, spatial = self.halves
        self.channel = channel(channels, reduction)
        self.spatial = spatial(kernel_size)
        self.order = order

    @classmethod
    def ordered(cls, order: str) -> tuple[type[Attention], dict[str, Any]]:
        """One half, or both in an order."""
        alone: dict[str, type[Attention]] = {"ca": cls.halves[0], "sa": cls.halves[1]}
        return (alone[order], {}) if order in alone else (cls, {"order": order})

    def gate(self, x: Tensor) -> Tensor:
        """Both gates together: their product, or in parallel their mean; maps (N, C, H, W) → v (N, C, H, W)."""
        if self.order == "ca|sa":
            return (self.channel.gate(x) + self.spatial.gate(x)) / 2
        first, second = self._in_order()
        value = first.gate(x)
        return value * second.gate(x * value)

    def constant(self, psi: Tensor) -> Tensor:
        """Refused on account of the spatial half; the channel half has a constant."""
        raise StripeError(
            f"{type(self).__name__}'s spatial half weighs the positions of a map, and a constant ψ has none: use "
            f"{self.channel_half}, its channel half"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) times one gate, then the other: cheaper than times their product."""
        if self.order == "ca|sa":
            parallel: Tensor = (self.channel(x) + self.spatial(x)) / 2
            return parallel
        first, second = self._in_order()
        refined: Tensor = second(first(x))
        return refined

    def _in_order(self) -> tuple[Attention, Attention]:
        return (self.spatial, self.channel) if self.order == "sa>ca" else (self.channel, self.spatial)
