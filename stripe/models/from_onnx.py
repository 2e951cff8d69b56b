"""Networks in ONNX files: ``onnx:FILE``."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from stripe import onnx
from stripe.data.size import ImageSize, parse_size, sides, write_size
from stripe.errors import StripeError
from stripe.models.factory import input_channels

__all__ = ["build", "image_size", "sha256"]

TRIED = 224
"""Pixels of a side of the images that a network is compared on, where nobody says a size."""


def build(
    path: str, *, num_classes: int | None, pretrained: bool, args: Mapping[str, Any], size: ImageSize | None
) -> nn.Module:
    """Build the network of an ONNX file, with the file's weights.

    It is run on a few random images, and must compute what onnxruntime computes.

    Args:
        path: The file.
        num_classes: None; the file has its own number of outputs.
        pretrained: False; the file has its own weights.
        args: Empty; a file is no constructor.
        size: Height and width of the images, where the file leaves them open. None: what the file says, else 224.

    Raises:
        StripeError: The file cannot be read or converted, or one of the arguments is given.
    """
    spec = f"onnx:{path}"
    if num_classes is not None:
        raise StripeError(f"{spec} has its own number of outputs; num_classes (--num-classes) cannot be chosen")
    if pretrained:
        raise StripeError(f"{spec} has its own weights; leave --pretrained away")
    if args:
        raise StripeError(f"{spec} takes no further arguments, but got {', '.join(args)}")
    file = onnx.read(path)
    height, width = _sides(file, size)
    network = onnx.load(file)
    channels = file.images.channels or input_channels(network) or 3
    generator = torch.Generator().manual_seed(0)
    onnx.verify(network, file, torch.randn(2 * (file.images.batch or 1), channels, height, width, generator=generator))
    return network


def image_size(path: str) -> ImageSize | None:
    """Height and width in pixels of a file's images, one number where they are equal; None where it leaves them open.

    Raises:
        StripeError: The file cannot be read.
    """
    height, width = onnx.read(path).images.size
    return None if height is None or width is None else parse_size((height, width))


def sha256(path: str) -> str:
    """The hash of a file, in hexadecimal digits.

    Raises:
        StripeError: The file cannot be read.
    """
    return onnx.read(path).sha256


def _sides(file: onnx.OnnxFile, size: ImageSize | None) -> tuple[int, int]:
    said = file.images.size
    if size is None:
        return said[0] or TRIED, said[1] or TRIED
    height, width = sides(size)
    if said[0] not in (None, height) or said[1] not in (None, width):
        wanted = " × ".join(str(side or "any") for side in said)
        raise StripeError(f"{file.path} takes images of {wanted} pixels (height × width), not of {write_size(size)}")
    return height, width
