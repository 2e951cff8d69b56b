"""What a detector says before it selects boxes."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Unselected"]


class Unselected(nn.Module):
    """A detector of torchvision without the selection of boxes, whose outputs two networks can be compared by.

    Which boxes are selected, and how many, may change with the last digit of a score. Before, there is a number for
    each class or coordinate of each anchor. A second stage (Mask R-CNN, Faster R-CNN) is given the same 14 boxes in
    each image: the image, its quarters and nine ninths.

    Args:
        detector: The detector; it is shared.

    Example:
        >>> from stripe.models import build
        >>> outputs = Unselected(build("retinanet:resnet11", num_classes=3)).eval()(torch.rand(2, 3, 32, 32))
        >>> outputs.shape == (2 * 9 * (8**2 + 4**2 + 2**2) * (3 + 4),)
        True
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor | list[Tensor]) -> Tensor:
        """Images (N, 3, H, W), or a list of images of different sizes → all numbers in a row (K,)."""
        detector: Any = self.detector
        batch, _ = detector.transform(list(images))
        maps = detector.backbone(batch.tensors)
        maps = {"0": maps} if isinstance(maps, Tensor) else maps
        levels = list(maps.values())
        if hasattr(detector, "head"):
            said = list(detector.head(levels).values())
        else:
            objectness, deltas = detector.rpn.head(levels)
            said = [*objectness, *deltas, *_second_stage(detector.roi_heads, maps, batch.image_sizes)]
        return torch.cat([numbers.flatten() for numbers in said])


def _second_stage(heads: Any, maps: dict[str, Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
    like = next(iter(maps.values()))
    boxes = [_boxes(*size).to(like) for size in sizes]
    said = list(heads.box_predictor(heads.box_head(heads.box_roi_pool(maps, boxes, sizes))))
    for part in ("mask", "keypoint"):
        if (pool := getattr(heads, f"{part}_roi_pool", None)) is not None:
            head, predictor = getattr(heads, f"{part}_head"), getattr(heads, f"{part}_predictor")
            said.append(predictor(head(pool(maps, boxes, sizes))))
    return said


def _boxes(height: int, width: int) -> Tensor:
    """The image, its quarters and its ninths, (14, 4)."""
    cells = [(row / n, column / n, n) for n in (1, 2, 3) for row in range(n) for column in range(n)]
    unit = torch.tensor([[x, y, x + 1 / n, y + 1 / n] for y, x, n in cells])
    return unit * torch.tensor([width, height, width, height])
