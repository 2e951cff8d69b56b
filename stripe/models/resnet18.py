"""ResNet-18 for 32×32 images, the backbone of the report on searching the structure of attention.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385, table 1: four
stages of two basic blocks, with a 3×3 stem of stride 1 and no pool, as is usual for CIFAR.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from stripe.errors import StripeError
from stripe.models.asymmetric import conv_norm
from stripe.models.basic_resnet import stage

__all__ = ["NAME", "CifarResNet18"]

NAME = "resnet18-cifar"


class CifarResNet18(nn.Module):
    """ResNet-18 for small images, with attention at the end of each block's residual branch, before the addition.

    Parameters: 11,173,962 for 10 classes, without attention; 701,466 where it is 16 channels wide.

    Args:
        num_classes: Outputs of the classifier.
        attention: Makes the attention module of a block from the block's number of output channels.
        width: Channels of the stem and of the first stage; each further stage has twice as many.

    Raises:
        StripeError: The width is no whole number of at least 1.

    Example:
        >>> import torch
        >>> CifarResNet18(num_classes=10, width=8)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self, num_classes: int = 10, attention: Callable[[int], nn.Module] = nn.Identity, width: int = 64
    ) -> None:
        super().__init__()
        if type(width) is not int or not 1 <= width <= 1 << 12:
            raise StripeError(f"{NAME}: width is {width!r}; it is a number of channels, as 64 (the default) or 16")
        self.conv1 = conv_norm(3, width, 1)
        self.layer1 = stage(width, width, 2, 1, conv_norm, attention)
        self.layer2 = stage(width, 2 * width, 2, 2, conv_norm, attention)
        self.layer3 = stage(2 * width, 4 * width, 2, 2, conv_norm, attention)
        self.layer4 = stage(4 * width, 8 * width, 2, 2, conv_norm, attention)
        self.fc = nn.Linear(8 * width, num_classes)
        for name, module in self.named_modules():
            # Attention modules keep the initialisation that they come with.
            if isinstance(module, nn.Conv2d) and "attention_module" not in name:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) → logits (N, num_classes)."""
        y = self.layer4(self.layer3(self.layer2(self.layer1(F.relu(self.conv1(x))))))
        logits: Tensor = self.fc(y.mean((2, 3)))
        return logits
