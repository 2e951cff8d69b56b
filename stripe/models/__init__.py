"""Models by name."""

import importlib
from typing import TYPE_CHECKING, Any

from stripe.lazy import names_of

if TYPE_CHECKING:
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

_of_modules = names_of(
    __name__,
    basic_resnet=("BasicResNet",),
    branches=("fuse_block", "fuse_branches"),
    factory=("build", "file_hash", "from_meta", "input_channels", "native_image_size", "native_normalization"),
    resnet=("Bottleneck", "CifarResNet"),
)


def __getattr__(name: str) -> Any:
    """The first release's name, in its notebooks, for ``stripe.checkpoint``, which is a layer above now."""
    return importlib.import_module("stripe.checkpoint") if name == "checkpoint" else _of_modules(name)
