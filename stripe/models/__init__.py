"""Models by name."""

import importlib
from typing import TYPE_CHECKING, Any

from stripe.lazy import names_of

if TYPE_CHECKING:
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

_of_modules = names_of(
    __name__,
    basic_resnet=("BasicResNet",),
    branches=("fuse_block", "fuse_branches"),
    channels=("input_channels",),
    factory=("build", "from_meta", "native_image_size", "native_normalization"),
    resnet=("Bottleneck", "CifarResNet"),
)


def __getattr__(name: str) -> Any:
    """Also the name of the first release for `stripe.checkpoint`, a layer above."""
    return importlib.import_module("stripe.checkpoint") if name == "checkpoint" else _of_modules(name)
