"""The paper's backbone: bottleneck ResNets for 32×32 images, with attention in every block.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385,
section 4.2, with the bottleneck block of its figure 5. Depth 9n+2: a stem, three stages of n blocks of three
convolutions, a classifier. Module names are those of the official ASR code, so that its checkpoints load as
they are.
"""

import re
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from stripe.errors import StripeError

__all__ = ["Bottleneck", "CifarResNet", "depth_of"]

EXPANSION = 4
WIDTHS = (16, 32, 64)
IMAGENET_DEPTHS = (18, 34, 50, 152)  # what somebody who asks for such a depth may have meant


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, attention after the last normalisation, then the addition.

    ``y = relu(attention(f(x)) + shortcut(x))`` with ``f = bn3 ∘ conv3 ∘ relu ∘ bn2 ∘ conv2 ∘ relu ∘ bn1 ∘
    conv1``.

    Args:
        in_channels: Channels of the input.
        width: Channels of the inner convolutions; the output has four times as many.
        stride: Stride of the 3×3 convolution.
        attention: Makes the attention module for a number of channels.
    """

    def __init__(self, in_channels: int, width: int, stride: int, attention: Callable[[int], nn.Module]) -> None:
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.attention_module = attention(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) → (N, 4·width, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.attention_module(self.bn3(self.conv3(y)))
        return F.relu(y + shortcut)


class CifarResNet(nn.Module):
    """Bottleneck ResNet of depth 9n+2 for small images.

    Parameters: ResNet164 for 100 classes has 1,727,284 without attention.

    Args:
        depth: 9n+2 with n ≥ 1: 11, 20, 29, …, 83, …, 164.
        num_classes: Outputs of the classifier.
        attention: Makes the attention module of a block from the block's number of output channels.

    Raises:
        StripeError: The depth is not of that form.

    Example:
        >>> import torch
        >>> CifarResNet(20, num_classes=10)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, depth: int, num_classes: int = 10, attention: Callable[[int], nn.Module] = nn.Identity) -> None:
        super().__init__()
        blocks = _blocks_per_stage(depth)
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks, 1, attention)
        self.layer2 = _stage(WIDTHS[0] * EXPANSION, WIDTHS[1], blocks, 2, attention)
        self.layer3 = _stage(WIDTHS[1] * EXPANSION, WIDTHS[2], blocks, 2, attention)
        self.fc = nn.Linear(WIDTHS[2] * EXPANSION, num_classes)
        for name, module in self.named_modules():
            # Attention modules keep the initialisation that they come with.
            if isinstance(module, nn.Conv2d) and "attention_module" not in name:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) → logits (N, num_classes)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        logits: Tensor = self.fc(y.mean((2, 3)))
        return logits


def depth_of(name: str) -> int | None:
    """The depth in ``"resnet83"``, or None where the name is not of that form."""
    match = re.fullmatch(r"resnet(\d{1,5})", name)
    return int(match[1]) if match else None


def _blocks_per_stage(depth: int) -> int:
    blocks, remainder = divmod(depth - 2, 9)
    if blocks >= 1 and remainder == 0:
        return blocks
    below = max(blocks, 1) * 9 + 2
    neighbours = [below] if depth < below else [below, below + 9]
    message = (
        f"there is no CIFAR ResNet of depth {depth}: bottleneck networks have 9n+2 layers, the nearest being "
        f"{' and '.join(f'resnet{d}' for d in neighbours)}"
    )
    if depth in IMAGENET_DEPTHS:
        message += f"; the ImageNet network is torchvision:resnet{depth} or timm:resnet{depth}"
    raise StripeError(message)


def _stage(
    in_channels: int, width: int, blocks: int, stride: int, attention: Callable[[int], nn.Module]
) -> nn.Sequential:
    first = Bottleneck(in_channels, width, stride, attention)
    rest = [Bottleneck(width * EXPANSION, width, 1, attention) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
