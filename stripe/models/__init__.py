"""Models by name."""

import importlib
from typing import TYPE_CHECKING, Any

from stripe.lazy import names_of

if TYPE_CHECKING:
    from stripe.models.backbones import backbone_of
    from stripe.models.basic_resnet import BasicResNet
    from stripe.models.branches import fuse_block, fuse_branches
    from stripe.models.composed import task_of
    from stripe.models.detection import normalizes_itself, outputs_of
    from stripe.models.factory import (
        build,
        file_hash,
        from_meta,
        input_channels,
        native_image_size,
        native_normalization,
    )
    from stripe.models.resnet import Bottleneck, CifarResNet
    from stripe.models.unselected import Unselected

__all__ = [
    "BasicResNet",
    "Bottleneck",
    "CifarResNet",
    "Unselected",
    "backbone_of",
    "build",
    "checkpoint",
    "file_hash",
    "from_meta",
    "fuse_block",
    "fuse_branches",
    "input_channels",
    "native_image_size",
    "native_normalization",
    "normalizes_itself",
    "outputs_of",
    "task_of",
]

_of_modules = names_of(
    __name__,
    backbones=("backbone_of",),
    basic_resnet=("BasicResNet",),
    branches=("fuse_block", "fuse_branches"),
    composed=("task_of",),
    detection=("normalizes_itself", "outputs_of"),
    factory=("build", "file_hash", "from_meta", "input_channels", "native_image_size", "native_normalization"),
    resnet=("Bottleneck", "CifarResNet"),
    unselected=("Unselected",),
)


def __getattr__(name: str) -> Any:
    """The first release's name, in its notebooks, for ``stripe.checkpoint``, which is a layer above now."""
    return importlib.import_module("stripe.checkpoint") if name == "checkpoint" else _of_modules(name)
