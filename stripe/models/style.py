"""Johnson's feed-forward network for style transfer: a content image in, the same image in another style out.

Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016, arXiv 1603.08155, as
the example ``fast_neural_style`` of PyTorch has it: three convolutions, five residual blocks, two upsamplings, each
with reflection padding. Modules have the names that they have there (``in1`` is a normalisation of either kind).

Two things depart from the example. Images go in and come out normalised, by the mean and std of the data, where the
example has 0..255. And an image comes out in the size in which it went in, whatever that is, where the example makes
its sides multiples of 4.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stripe.attention import attention_factory, for_every_block
from stripe.data import Normalization
from stripe.devices import available_memory, is_out_of_memory
from stripe.errors import StripeError

__all__ = ["CHANNELS", "NAME", "Norm", "StyleNetwork", "build", "stylize"]

NAME = "style"
"""The plain name of the network."""

CHANNELS = 3
"""What goes in and comes out: red, green and blue."""

Norm = Literal["in", "bn"]
"""Instance normalisation (each image by its own statistics) or batch normalisation."""

NORMS: dict[str, type[nn.Module]] = {"in": nn.InstanceNorm2d, "bn": nn.BatchNorm2d}

LEAST = 8
"""Pixels of a side below which an image is enlarged by its border: the residual blocks see a quarter of it."""

Make = Callable[[int], nn.Module]


class StyleNetwork(nn.Module):
    """The network that transforms images.

    Every normalisation has γ and β, and may be followed by an attention module, in front of the activation or the
    addition. With width 32 and without attention it has 1,679,235 parameters.

    Args:
        norm: What normalises, ``"in"`` or ``"bn"``.
        width: Channels of the first convolution; the residual blocks have four times as many.
        blocks: Number of residual blocks.
        attention: Makes the attention module for a number of channels, in the order of the forward pass.

    Raises:
        StripeError: There is no such normalisation, or a number is below 1.

    Example:
        >>> StyleNetwork("bn", width=4)(torch.randn(2, 3, 37, 21)).shape
        torch.Size([2, 3, 37, 21])
    """

    def __init__(self, norm: Norm = "in", width: int = 32, blocks: int = 5, attention: Make = nn.Identity) -> None:
        super().__init__()
        if norm not in get_args(Norm):
            raise StripeError(f"norm={norm!r} is no normalisation of {NAME}; there are {' and '.join(get_args(Norm))}")
        if min(width, blocks) < 1:
            raise StripeError(f"width={width} and blocks={blocks}: both must be at least 1")
        self.blocks = blocks

        def normalisation(channels: int) -> nn.Module:
            return NORMS[norm](channels, affine=True)

        self.conv1 = _Convolution(CHANNELS, width, 9)
        self.in1, self.attention1 = normalisation(width), attention(width)
        self.conv2 = _Convolution(width, 2 * width, 3, stride=2)
        self.in2, self.attention2 = normalisation(2 * width), attention(2 * width)
        self.conv3 = _Convolution(2 * width, 4 * width, 3, stride=2)
        self.in3, self.attention3 = normalisation(4 * width), attention(4 * width)
        for number in range(1, blocks + 1):
            setattr(self, f"res{number}", _ResidualBlock(4 * width, normalisation, attention))
        self.deconv1 = _Convolution(4 * width, 2 * width, 3, upsample=2)
        self.in4, self.attention4 = normalisation(2 * width), attention(2 * width)
        self.deconv2 = _Convolution(2 * width, width, 3, upsample=2)
        self.in5, self.attention5 = normalisation(width), attention(width)
        self.deconv3 = _Convolution(width, CHANNELS, 9)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) of any size → images in the other style, of the same size."""
        height, width = x.shape[-2:]
        down, right = (max(LEAST, -(-side // 4) * 4) - side for side in (height, width))
        y = F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x
        y = F.relu(self.attention1(self.in1(self.conv1(y))))
        y = F.relu(self.attention2(self.in2(self.conv2(y))))
        y = F.relu(self.attention3(self.in3(self.conv3(y))))
        for number in range(1, self.blocks + 1):
            y = self.get_submodule(f"res{number}")(y)
        y = F.relu(self.attention4(self.in4(self.deconv1(y))))
        y = F.relu(self.attention5(self.in5(self.deconv2(y))))
        made: Tensor = self.deconv3(y)
        return made[..., :height, :width]


class _Convolution(nn.Module):
    """A convolution that keeps the size but for its stride, after an enlargement by ``upsample``."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, upsample: int = 1
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.reflection_pad = nn.ReflectionPad2d(kernel_size // 2)
        self.conv2d = nn.Conv2d(in_channels, out_channels, kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample > 1:
            x = F.interpolate(x, scale_factor=self.upsample, mode="nearest")
        x = self.reflection_pad(x)  # the name is used anew, so that the memory of what was padded is free
        y: Tensor = self.conv2d(x)
        return y


class _ResidualBlock(nn.Module):
    """Two 3×3 convolutions and an addition, after which there is no activation."""

    def __init__(self, channels: int, normalisation: Make, attention: Make) -> None:
        super().__init__()
        self.conv1 = _Convolution(channels, channels, 3)
        self.in1, self.attention1 = normalisation(channels), attention(channels)
        self.conv2 = _Convolution(channels, channels, 3)
        self.in2, self.attention2 = normalisation(channels), attention(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.attention1(self.in1(self.conv1(x))))
        branch: Tensor = self.attention2(self.in2(self.conv2(y)))
        return branch + x


def build(num_classes: int | None, attention: str, args: Mapping[str, Any]) -> StyleNetwork:
    """Build the network as ``stripe.models.build`` is asked for it.

    Args:
        num_classes: Channels of the output, 3 or None.
        attention: Attention module after every normalisation, or ``"none"``.
        args: ``norm``, ``width`` and ``blocks``, as of ``StyleNetwork``.

    Raises:
        StripeError: An argument is unknown or makes no sense.
    """
    if num_classes not in (None, CHANNELS):
        raise StripeError(f"{NAME} makes images of {CHANNELS} channels and tells no classes apart; num_classes=None")
    known: dict[str, type] = {"norm": str, "width": int, "blocks": int}
    for name, value in args.items():
        if name not in known:
            raise StripeError(f"{NAME} takes the arguments {', '.join(known)}, but got {name}")
        if type(value) is not known[name]:
            raise StripeError(f"{name}={value!r} of {NAME} must be {'a text' if name == 'norm' else 'a whole number'}")
    with for_every_block(attention_factory(attention)) as make:
        return StyleNetwork(**args, attention=make)


def stylize(model: nn.Module, images: Tensor, normalization: Normalization) -> Tensor:
    """Have a network transform images.

    Args:
        model: A ``StyleNetwork`` or any network that gives an image for an image, in evaluation mode.
        images: uint8 (N, 3, H, W), of any size.
        normalization: Mean and std that the network was trained with.

    Returns:
        uint8 (N, 3, H, W), on the device of ``images``.

    Raises:
        StripeError: The network gives no such images, or there is not enough memory for images of this size.
    """
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (normalization.mean, normalization.std))
    device = next(model.parameters()).device
    _check_memory(model, images, device)
    try:
        with torch.no_grad():
            inputs = (images.to(device, torch.float32) / 255 - mean.to(device)) / std.to(device)
            made: Tensor = model(inputs)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise _too_large(images, f"more than the memory of {device}") from None
    if not isinstance(made, Tensor) or made.shape != inputs.shape:
        raise StripeError(f"{type(model).__name__} gives no image for an image, so that it transfers no style")
    pixels = (made * std.to(device) + mean.to(device)) * 255
    return pixels.round().clamp(0, 255).to(images.device, torch.uint8)


def _check_memory(model: nn.Module, images: Tensor, device: torch.device) -> None:
    """Refuse what the computer has no memory for: Linux gives it at first, and ends the process later."""
    if device.type != "cpu" or not isinstance(model, StyleNetwork) or (there := available_memory()) is None:
        return
    # At full size, around the last enlargement, 7.7 to 8.2 times ``width`` channels were measured, and a few besides.
    channels = 8 * model.conv1.conv2d.out_channels + 16
    wanted = 4 * len(images) * images.shape[-2] * images.shape[-1] * channels
    if wanted > there:
        raise _too_large(images, f"{wanted / 2**30:.1f} GiB of memory, and {there / 2**30:.1f} are free")


def _too_large(images: Tensor, needs: str) -> StripeError:
    height, width = images.shape[-2:]
    return StripeError(f"an image of {width}×{height} pixels is too large: it needs {needs}; give size=")
