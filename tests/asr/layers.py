"""Every kind of layer that ASR can follow, each with an input and the axis of its output that the channels are on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CHANNELS = 6


@dataclass(frozen=True)
class Kind:
    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    axis: int = 1
    norm: bool = False


C = CHANNELS
KINDS = {
    "BatchNorm1d": Kind(lambda: nn.BatchNorm1d(C), (4, C), norm=True),
    "BatchNorm1d of sequences": Kind(lambda: nn.BatchNorm1d(C), (4, C, 5), norm=True),
    "BatchNorm2d": Kind(lambda: nn.BatchNorm2d(C), (2, C, 3, 4), norm=True),
    "BatchNorm2d of the batch": Kind(lambda: nn.BatchNorm2d(C, track_running_stats=False), (2, C, 3, 4), norm=True),
    "BatchNorm3d": Kind(lambda: nn.BatchNorm3d(C), (2, C, 2, 3, 2), norm=True),
    "GroupNorm": Kind(lambda: nn.GroupNorm(3, C), (2, C, 3, 4), norm=True),
    "InstanceNorm1d": Kind(lambda: nn.InstanceNorm1d(C, affine=True), (2, C, 5), norm=True),
    "InstanceNorm2d": Kind(lambda: nn.InstanceNorm2d(C, affine=True), (2, C, 3, 4), norm=True),
    "LayerNorm": Kind(lambda: nn.LayerNorm(C), (2, 5, C), axis=-1, norm=True),
    "LayerNorm without bias": Kind(lambda: nn.LayerNorm(C, bias=False), (2, 5, C), axis=-1, norm=True),
    "Linear": Kind(lambda: nn.Linear(3, C), (2, 5, 3), axis=-1),
    "Linear without bias": Kind(lambda: nn.Linear(3, C, bias=False), (4, 3), axis=-1),
    "Conv1d": Kind(lambda: nn.Conv1d(4, C, 3), (2, 4, 7)),
    "Conv2d": Kind(lambda: nn.Conv2d(4, C, 3, padding=1), (2, 4, 5, 6)),
    "Conv2d without bias": Kind(lambda: nn.Conv2d(4, C, 3, bias=False), (2, 4, 5, 6)),
    "Conv2d in groups": Kind(lambda: nn.Conv2d(4, C, 3, groups=2), (2, 4, 5, 6)),
    "Conv2d depthwise": Kind(lambda: nn.Conv2d(C, C, 3, groups=C), (2, C, 5, 6)),
    "Conv3d": Kind(lambda: nn.Conv3d(2, C, 2), (2, 2, 3, 4, 3)),
    "ConvTranspose1d": Kind(lambda: nn.ConvTranspose1d(4, C, 3), (2, 4, 5)),
    "ConvTranspose2d": Kind(lambda: nn.ConvTranspose2d(4, C, 3, stride=2), (2, 4, 3, 4)),
    "ConvTranspose2d in groups": Kind(lambda: nn.ConvTranspose2d(4, C, 3, groups=2), (2, 4, 3, 4)),
    "ConvTranspose3d": Kind(lambda: nn.ConvTranspose3d(2, C, 2, bias=False), (2, 2, 2, 3, 2)),
}


def randomised(module: nn.Module) -> nn.Module:
    """The module with random parameters, and running statistics that are neither 0 nor 1."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5)
                tensor.mul_(torch.where(torch.rand_like(tensor) < 0.5, -1, 1) if tensor.requires_grad else 1)
    return module


def along(value: Tensor, axis: int, ndim: int) -> Tensor:
    """v (C,) so that it broadcasts over outputs of so many axes."""
    shape = [1] * ndim
    shape[axis] = -1
    return value.view(shape)
