"""Small pictures of the captured images, so that plots and reports need no data set."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["MAX_SIDE", "thumbnails"]

MAX_SIDE = 64


def thumbnails(images: Tensor) -> Tensor:
    """Shrink images to at most 64 pixels a side.

    Args:
        images: (N, C, H, W); uint8 is taken as it is, floating point is stretched image by image from its least to its
            largest value. One channel becomes grey, of more than three the first three are shown.

    Returns:
        (N, y, x, 3) uint8 on the CPU.
    """
    images = images.cpu()[:, :3]
    if images.dtype != torch.uint8:
        images = images.float()
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        images = (images - low) / (high - low).clamp_min(1e-12) * 255
    if images.shape[1] != 3:
        images = images[:, :1].expand(-1, 3, -1, -1)
    scale = MAX_SIDE / max(images.shape[2:])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in images.shape[2:]]
        images = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    if images.dtype != torch.uint8:
        images = images.nan_to_num().clamp(0, 255).round().to(torch.uint8)
    return images.permute(0, 2, 3, 1)
