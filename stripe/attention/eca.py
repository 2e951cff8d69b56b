"""Efficient Channel Attention.

Wang et al., "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", CVPR 2020,
https://arxiv.org/abs/1910.03151, equations 9 and 12.
"""

import math
from typing import ClassVar

from torch import Tensor, nn

from stripe.attention.base import SqueezeAttention
from stripe.attention.registry import register
from stripe.errors import StripeError

__all__ = ["ECA", "kernel_size"]


def kernel_size(channels: int) -> int:
    """The adaptive kernel ``k = |log₂(C)/2 + 1/2|`` (γ = 2, b = 1), made an odd integer.

    It is cut to an integer and, where that is even, raised by one.

    Example:
        >>> [kernel_size(c) for c in (16, 64, 128, 256, 512)]
        [3, 3, 5, 5, 5]
    """
    size = int(abs(math.log2(channels) / 2 + 1 / 2))
    return size if size % 2 else size + 1


@register("eca", place=1)
class ECA(SqueezeAttention):
    """Channel attention from the global average, through a 1-d convolution across neighbouring channels.

    ``v = σ(conv1d_k(GAP(x)))`` without bias, zero-padded at the first and last channel, k as in
    ``kernel_size``. The 80 parameters that ECA-Net's and SPSA's tables give for ResNet-50 are k = 5 in each of its 16
    blocks (``eca,k=5``), while for 2048 channels ``kernel_size`` gives 7.

    Parameters: k. In ResNet164 that is 234 in all.

    Args:
        channels: C, the number of channels of the maps.
        k: An odd number; None: as in ``kernel_size``.

    Raises:
        StripeError: k is even, or less than 1.

    Example:
        >>> import torch
        >>> ECA(64).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 1, 1])
    """

    options: ClassVar = {"k": "k"}

    def __init__(self, channels: int, k: int | None = None) -> None:
        super().__init__()
        size = kernel_size(channels) if k is None else k
        if size < 1 or size % 2 == 0:
            raise StripeError(f"k is {size}; the kernel of ECA has an odd size: 3, 5, 7 …")
        if size > max(2 * channels - 1, kernel_size(channels)):
            raise StripeError(
                f"k is {size}; with more than {2 * channels - 1} it reaches beyond all {channels} channels"
            )
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def excite(self, squeezed: Tensor) -> Tensor:
        """Averages (N, C) → v (N, C)."""
        return self.activation(self.conv(squeezed[:, None, :]))[:, 0]
