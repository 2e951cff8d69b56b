"""Models by name."""

import importlib
from types import ModuleType

from stripe.models.basic_resnet import BasicResNet
from stripe.models.branches import fuse_block, fuse_branches
from stripe.models.factory import (
    build,
    file_hash,
    from_meta,
    input_channels,
    native_image_size,
    native_normalization,
)
from stripe.models.resnet import Bottleneck, CifarResNet

__all__ = [
    "BasicResNet",
    "Bottleneck",
    "CifarResNet",
    "build",
    "checkpoint",
    "file_hash",
    "from_meta",
    "fuse_block",
    "fuse_branches",
    "input_channels",
    "native_image_size",
    "native_normalization",
]


def __getattr__(name: str) -> ModuleType:
    """The first release's name, in its notebooks, for ``stripe.checkpoint``, which is a layer above now."""
    if name == "checkpoint":
        return importlib.import_module("stripe.checkpoint")
    raise AttributeError(f"module 'stripe.models' has no attribute {name!r}")
