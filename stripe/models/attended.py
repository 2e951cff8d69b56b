"""The blocks of torchvision's ResNet, which has no place for attention, with one: before the addition."""

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

__all__ = ["AttendedBasicBlock", "AttendedBottleneck", "attend"]


class AttendedBasicBlock(BasicBlock):
    """``y = relu(attention(f(x)) + shortcut(x))``, f the two normalised convolutions."""

    attention_module: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) → (N, out_channels, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        summed: Tensor = self.relu(self.attention_module(out) + shortcut)
        return summed


class AttendedBottleneck(Bottleneck):
    """``y = relu(attention(f(x)) + shortcut(x))``, f the three normalised convolutions."""

    attention_module: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) → (N, out_channels, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        summed: Tensor = self.relu(self.attention_module(out) + shortcut)
        return summed


def attend(block: nn.Module, make: Callable[[int], nn.Module]) -> bool:
    """Give a block attention, in place; the names of its own parameters stay.

    Args:
        block: A block of torchvision's ResNet.
        make: Makes the attention module for a number of channels.

    Returns:
        Whether it is such a block, without attention.
    """
    if type(block) is Bottleneck:
        block.__class__, last = AttendedBottleneck, block.conv3
    elif type(block) is BasicBlock:
        block.__class__, last = AttendedBasicBlock, block.conv2
    else:
        return False
    block.attention_module = make(last.out_channels)
    return True
