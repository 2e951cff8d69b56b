"""Random crops and flips of a whole batch at once, drawn from a seed."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["PADDING", "crop_and_flip", "draw_crops", "mix"]

PADDING = 4
"""Pixels of black added on each side before a crop of the original size is cut (DESIGN section 5)."""


def mix(*numbers: int) -> int:
    """One well-spread 63-bit seed out of several numbers, so that (seed 0, epoch 1) is not (seed 1, epoch 0)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def draw_crops(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Where to crop and whether to flip.

    Returns:
        Offsets, int64 ``(count, 2)`` in 0..2*PADDING, down and right; flips, bool ``(count,)``, half of them true.
    """
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.randint(2 * PADDING + 1, (count, 2), generator=generator)
    flips = torch.rand(count, generator=generator) < 0.5
    return offsets, flips


def crop_and_flip(images: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
    """Pad each image by ``PADDING`` black pixels, cut a crop of the original size, flip some from left to right.

    He et al. 2016 (arXiv 1512.03385), section 4.2, as one gather over the batch, on the device of ``images``.

    Args:
        images: uint8 ``(N, C, H, W)``.
        offsets: Upper left corner of each crop in the padded image, int64 ``(N, 2)``: row, column.
        flips: Which crops to flip, bool ``(N,)``.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (PADDING,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, row, column, H, W), a view
    rows, columns = offsets.unbind(1)
    crops = windows[torch.arange(len(images), device=images.device), :, rows, columns]
    return torch.where(flips.view(-1, 1, 1, 1), crops.flip(-1), crops)
