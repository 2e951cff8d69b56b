import pytest
import torch
from torch import nn

from stripe import models
from stripe.models import input_channels


class Focus(nn.Module):
    """Moves pixels into channels before its first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.conv = nn.Conv2d(12, 8, 3)


@pytest.mark.parametrize(
    ("model", "channels"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 1)), 1),
        (nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 8, 3)), 1),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(1, 1, 7)), 3),
        (nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(3, 8, 3)), 3),
        (nn.DataParallel(nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3)))), 1),
        (nn.Conv2d(4, 8, 3), None),
        (Focus(), None),
        (nn.LazyConv2d(8, 3), None),
        (nn.Linear(8, 8), None),
    ],
)
def test_what_the_first_convolution_takes(model: nn.Module, channels: int | None) -> None:
    assert input_channels(model) == channels


def test_ours_and_others() -> None:
    assert input_channels(models.build("resnet11")) == 3
    with torch.device("meta"):
        assert input_channels(models.build("timm:resnet18", args={"in_chans": 1})) == 1
        assert input_channels(models.build("torchvision:vit_b_16")) == 3
