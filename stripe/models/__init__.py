"""Models by name, and their checkpoints."""

from stripe.models import checkpoint
from stripe.models.basic_resnet import BasicResNet
from stripe.models.branches import fuse_block, fuse_branches
from stripe.models.channels import input_channels
from stripe.models.factory import build, from_meta, native_image_size, native_normalization
from stripe.models.resnet import Bottleneck, CifarResNet

__all__ = [
    "BasicResNet",
    "Bottleneck",
    "CifarResNet",
    "build",
    "checkpoint",
    "from_meta",
    "fuse_block",
    "fuse_branches",
    "input_channels",
    "native_image_size",
    "native_normalization",
]
