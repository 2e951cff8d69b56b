"""Thumbnails of the captured images, so that plots and reports need no data set."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["MAX_SIDE", "thumbnails"]

MAX_SIDE = 64


def thumbnails(images: Tensor | list[Tensor]) -> Tensor | None:
    """Shrink images to at most 64 pixels a side.

    Args:
        images: Images (N, C, H, W). Values of type uint8 are kept; others are stretched, image by image, from the
            least to the largest finite value. One channel becomes grey; of two channels the first is shown, of more
            than three the first three. Of a video (N, C, T, H, W), or (N, T, C, H, W) with one or three channels, the
            middle frame is shown. Images of different sizes come as a list and are put into boxes of one size.

    Returns:
        Thumbnails (N, y, x, 3) of type uint8 on the CPU; None if the inputs are not pictures, as signals (N, C, L).
    """
    if isinstance(images, list):
        pictures = [picture for image in images if (picture := thumbnails(image[None])) is not None]
        return torch.cat([_boxed(picture) for picture in pictures]) if len(pictures) == len(images) else None
    images = images.detach()
    if images.ndim == 5:
        frames_first = images.shape[2] in (1, 3) and images.shape[1] not in (1, 3)
        images = images.select(1 if frames_first else 2, images.shape[1 if frames_first else 2] // 2)
    if images.ndim != 4 or not all(images.shape[1:]) or images.is_complex():
        return None
    # On the device of the images: on the CPU beside a GPU this would take longer than the network.
    images = images[:, :3] if images.device.type in ("cpu", "cuda") else images[:, :3].cpu()
    if images.dtype != torch.uint8:
        images = _stretched(images.float())
    if images.shape[1] != 3:
        images = images[:, :1].expand(-1, 3, -1, -1)
    scale = MAX_SIDE / max(images.shape[2:])
    if scale < 1 and len(images):
        size = [max(1, round(side * scale)) for side in images.shape[2:]]
        images = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    if images.dtype != torch.uint8:
        images = images.nan_to_num().clamp(0, 255).round().to(torch.uint8)
    return images.permute(0, 2, 3, 1).cpu()


def _boxed(picture: Tensor) -> Tensor:
    """Put a picture (1, y, x, 3) into the middle of a black square of the largest size."""
    box = picture.new_zeros(1, MAX_SIDE, MAX_SIDE, 3)
    top, left = ((MAX_SIDE - side) // 2 for side in picture.shape[1:3])
    box[:, top : top + picture.shape[1], left : left + picture.shape[2]] = picture
    return box


def _stretched(images: Tensor) -> Tensor:
    """Stretch each image to 0 … 255; values that are NaN or infinite do not decide the range."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    if not (low.isfinite().all() and high.isfinite().all()):
        finite = images.isfinite()
        low = images.where(finite, torch.inf).amin((1, 2, 3), keepdim=True)
        high = images.where(finite, -torch.inf).amax((1, 2, 3), keepdim=True)
        images = images.nan_to_num(0.0).clamp(low.nan_to_num(), high.nan_to_num())
        low, high = low.nan_to_num(0.0, 0.0, 0.0), high.nan_to_num(0.0, 0.0, 0.0)
    return (images - low) / (high - low).clamp_min(1e-12) * 255
