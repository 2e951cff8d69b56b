"""The building block of ACNet: three convolutions side by side that become one.

Ding et al., "ACNet: Strengthening the Kernel Skeletons for Powerful CNN via Asymmetric Convolution Blocks", ICCV
2019, https://arxiv.org/abs/1908.03930, section 3 and figure 2.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["AsymmetricConv", "conv_norm"]

INITIAL_GAMMA = 1 / 3
"""The scale that each of the three normalisations begins with, so that their sum begins as one would."""


def conv_norm(
    in_channels: int, out_channels: int, stride: int, kernel: tuple[int, int] = (3, 3), gamma: float = 1.0
) -> nn.Sequential:
    """A convolution (``conv``) without bias that keeps the size at stride 1, and its normalisation (``bn``).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: In both directions.
        kernel: Height and width, odd.
        gamma: The initial scale of the normalisation.
    """
    padding = (kernel[0] // 2, kernel[1] // 2)
    norm = nn.BatchNorm2d(out_channels)
    nn.init.constant_(norm.weight, gamma)
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=norm))


class AsymmetricConv(nn.Module):
    """A 3×3, a 1×3 and a 3×1 convolution of the same input, each normalised, added up.

    ``y = bn(conv₃ₓ₃(x)) + bn(conv₁ₓ₃(x)) + bn(conv₃ₓ₁(x))``. Each scale begins at 1/3, as in the published code.

    Parameters: 15·in·out + 6·out, and 9·in·out + out once ``reparameterize`` was called.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: In both directions.

    Example:
        >>> block = AsymmetricConv(16, 32, stride=2).eval()
        >>> x = torch.randn(2, 16, 8, 8)
        >>> before = block(x)
        >>> block.reparameterize()
        >>> torch.allclose(block(x), before, atol=1e-5), list(block.state_dict())
        (True, ['reparam_conv.weight', 'reparam_conv.bias'])
    """

    BRANCHES = ("square", "horizontal", "vertical")

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.square = conv_norm(in_channels, out_channels, stride, (3, 3), INITIAL_GAMMA)
        self.horizontal = conv_norm(in_channels, out_channels, stride, (1, 3), INITIAL_GAMMA)
        self.vertical = conv_norm(in_channels, out_channels, stride, (3, 1), INITIAL_GAMMA)
        self.reparam_conv: nn.Conv2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) → (N, out_channels, H/stride, W/stride)."""
        if self.reparam_conv is not None:
            fused: Tensor = self.reparam_conv(x)
            return fused
        total: Tensor = self.square(x) + self.horizontal(x) + self.vertical(x)
        return total

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Replace the branches by the one convolution that computes the same in evaluation mode, in place.

        A normalised convolution is a convolution, K·γ/σ with bias β − μ·γ/σ, and one with a smaller kernel is one whose
        3×3 kernel is zero elsewhere; so the kernels and the biases add up (paper, section 3). The names of the method
        and of the convolution are those of timm's RepVGG block. A second call does nothing.
        """
        if self.reparam_conv is not None:
            return
        branches = [self.get_submodule(name) for name in self.BRANCHES]
        kernels, biases = zip(*(_without_norm(branch) for branch in branches), strict=True)
        conv = self.square.get_submodule("conv")
        assert isinstance(conv, nn.Conv2d)
        fused = nn.Conv2d(conv.in_channels, conv.out_channels, 3, conv.stride, padding=1)  # type: ignore[arg-type]
        fused.to(conv.weight)
        fused.weight.copy_(sum(kernels))
        fused.bias.copy_(sum(biases))  # type: ignore[union-attr]
        self.reparam_conv = fused
        for name in self.BRANCHES:
            delattr(self, name)


def _without_norm(branch: nn.Module) -> tuple[Tensor, Tensor]:
    """The 3×3 kernel (out, in, 3, 3) and the bias (out,) of a convolution together with its normalisation."""
    conv, norm = branch.get_submodule("conv"), branch.get_submodule("bn")
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    height, width = conv.kernel_size
    vertical, horizontal = (3 - height) // 2, (3 - width) // 2
    kernel = F.pad(conv.weight * scale[:, None, None, None], (horizontal, horizontal, vertical, vertical))
    return kernel, norm.bias - norm.running_mean * scale
