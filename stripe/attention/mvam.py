"""Mean and Variance Attention Module: CBAM with the variance where CBAM takes the maximum.

Of the report on searching the structure of attention modules, section 3: "Instead of using Mean and Max for AM, while
MVAM uses Mean and Variance". It says no more, so that all else is CBAM's; the variance is the population's, which
exists for a map of one pixel, or of one channel, too.
"""

import torch
from torch import Tensor

from stripe.attention.cbam import CBAM, ChannelGate, SpatialGate
from stripe.attention.registry import register

__all__ = ["MVAM", "VarianceChannelGate", "VarianceSpatialGate"]


class VarianceChannelGate(ChannelGate):
    """The channel half of MVAM: one MLP for the average and for the variance over positions.

    ``v = σ(MLP(GAP(x)) + MLP(Var_{h,w}(x)))``. A constant has no variance, and the MLP no bias, so that
    ``v(ψ) = σ(MLP(ψ))``.

    Parameters: 2·C·h, as CBAM's.
    """

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Average and variance over positions of maps (N, C, H, W), (N, C) each."""
        variance, mean = torch.var_mean(x, (2, 3), correction=0)
        return mean, variance


class VarianceSpatialGate(SpatialGate):
    """The spatial half of MVAM: a convolution over the mean and the variance across channels.

    ``v = σ(conv_k([mean_c(x); Var_c(x)]))`` without bias.

    Parameters: 2·k², as CBAM's.
    """

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance across channels of maps (N, C, H, W), (N, 1, H, W) each."""
        variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
        return mean, variance


@register("mvam", place=8)
class MVAM(CBAM):
    """Channel attention, then spatial attention of the result, each from mean and variance; orders as in CBAM.

    Parameters: those of CBAM.

    Example:
        >>> import torch
        >>> MVAM(64, kernel_size=3).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
    """

    halves = (VarianceChannelGate, VarianceSpatialGate)
    channel_half = "mvam:ca"
