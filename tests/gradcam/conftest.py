"""Small classifiers, each with one difficulty for Grad-CAM."""

import pytest
import torch
from torch import Tensor, nn


class Cnn(nn.Module):
    """Two convolutions, a ReLU in place after each, mean, classifier; the last stage is ``stage2``."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.stage2 = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8))
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stage2(self.stage1(x)))
        out: Tensor = self.fc(self.drop(x.mean((2, 3))))
        return out


@pytest.fixture
def cnn() -> nn.Module:
    """With statistics that are not those of a new network, and something at ``stage2`` that speaks for every class."""
    model = Cnn()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    nn.init.ones_(model.stage2[1].bias)
    nn.init.uniform_(model.fc.weight, -0.2, 1)
    return model.eval()


@pytest.fixture
def batch() -> Tensor:
    return torch.rand(6, 3, 16, 16)
