"""ResNets of basic blocks for 32×32 images, plain and with ACNet's asymmetric convolutions (table 6 of the ASR paper).

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385, section 4.2.
Depth 6n+2: a stem, three stages of n blocks of two convolutions, a classifier. Where a block changes the shape, its
shortcut is a normalised 1×1 convolution, as in ACNet's code.
"""

import re
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from stripe.errors import StripeError
from stripe.models.asymmetric import AsymmetricConv, conv_norm

__all__ = ["BasicBlock", "BasicResNet", "basic_depth_of", "stage"]

WIDTHS = (16, 32, 64)

# Makes a normalised 3×3 convolution from its channels in, channels out and stride.
MakeConv = Callable[[int, int, int], nn.Module]


class BasicBlock(nn.Module):
    """Two normalised 3×3 convolutions, attention after the second, then the addition.

    ``y = relu(attention(conv2(relu(conv1(x)))) + shortcut(x))``, each convolution with its normalisation(s).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the first convolution.
        conv: Makes a normalised convolution.
        attention: Makes the attention module for a number of channels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, conv: MakeConv, attention: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, stride)
        self.conv2 = conv(out_channels, out_channels, 1)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = conv_norm(in_channels, out_channels, stride, (1, 1))
        self.attention_module = attention(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) → (N, out_channels, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.attention_module(self.conv2(F.relu(self.conv1(x))))
        return F.relu(y + shortcut)


class BasicResNet(nn.Module):
    """ResNet of basic blocks, of depth 6n+2, for small images.

    Parameters: ResNet56 for 10 classes has 855,770 without attention.

    Args:
        depth: 6n+2 with n ≥ 1: 8, 14, 20, …, 56, …, 110.
        num_classes: Outputs of the classifier.
        attention: Makes the attention module of a block from the block's number of output channels.
        asymmetric: Whether every 3×3 convolution, the stem's included, is ACNet's ``AsymmetricConv``.

    Raises:
        StripeError: The depth is not of that form.

    Example:
        >>> import torch
        >>> BasicResNet(20, num_classes=10, asymmetric=True)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        attention: Callable[[int], nn.Module] = nn.Identity,
        asymmetric: bool = False,
    ) -> None:
        super().__init__()
        blocks, remainder = divmod(depth - 2, 6)
        if blocks < 1 or remainder:
            raise StripeError(
                f"there is no ResNet of basic blocks of depth {depth}: it has 6n+2 layers, as 20, 56 and 110"
            )
        conv: MakeConv = AsymmetricConv if asymmetric else conv_norm
        self.conv1 = conv(3, WIDTHS[0], 1)
        self.layer1 = stage(WIDTHS[0], WIDTHS[0], blocks, 1, conv, attention)
        self.layer2 = stage(WIDTHS[0], WIDTHS[1], blocks, 2, conv, attention)
        self.layer3 = stage(WIDTHS[1], WIDTHS[2], blocks, 2, conv, attention)
        self.fc = nn.Linear(WIDTHS[2], num_classes)
        for name, module in self.named_modules():
            # Attention modules keep the initialisation that they come with.
            if isinstance(module, nn.Conv2d) and "attention_module" not in name:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) → logits (N, num_classes)."""
        y = self.layer3(self.layer2(self.layer1(F.relu(self.conv1(x)))))
        logits: Tensor = self.fc(y.mean((2, 3)))
        return logits


def basic_depth_of(name: str) -> tuple[int, bool] | None:
    """Depth, and whether it is asymmetric, in ``"resnet56-acnet"`` and ``"resnet56-basic"``; None for other names."""
    match = re.fullmatch(r"resnet(\d{1,5})-(acnet|basic)", name)
    return (int(match[1]), match[2] == "acnet") if match else None


def stage(
    in_channels: int, width: int, blocks: int, stride: int, conv: MakeConv, attention: Callable[[int], nn.Module]
) -> nn.Sequential:
    """A stage of basic blocks, of which the first changes the channels and the size.

    Args:
        in_channels: Channels of its input.
        width: Channels of its output.
        blocks: Number of blocks.
        stride: Stride of the first block.
        conv: Makes a normalised convolution.
        attention: Makes the attention module for a number of channels.
    """
    first = BasicBlock(in_channels, width, stride, conv, attention)
    rest = [BasicBlock(width, width, 1, conv, attention) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
