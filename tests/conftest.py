"""Tiny models on the CPU, each with one way to multiply a map by a gate."""

import os

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

torch.set_num_threads(2)

# On a continuous-integration server the same examples each time; elsewhere new ones, to find what these don't.
# Without a deadline: how long an example takes says more of what else the machine does.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


class SqueezeExcite(nn.Module):
    """A channel gate (N, C, 1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def gate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class ExpandedGate(SqueezeExcite):
    """The same, written as the original SENet, ECA and CBAM code does."""

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x).expand_as(x) * x


class InPlaceGate(SqueezeExcite):
    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)
        x = x * 1.0
        x *= gate
        gate.zero_()  # whoever kept the tensor itself would now read zeros
        return x


class SpatialGate(nn.Module):
    """One number a position (N, 1, H, W)."""

    def gate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x.mean(1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return x.mul(self.gate(x))


class BranchGate(nn.Module):
    """Softmax over two branches (N, 2, C, 1, 1), as in selective kernels."""

    def gate(self, x: Tensor) -> Tensor:
        branches = torch.stack([x, x.flip(1)], 1)
        return branches.mean((3, 4), keepdim=True).softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        return (torch.stack([x, x.flip(1)], 1) * self.gate(x)).sum(1)


class LayerScale(nn.Module):
    """A constant factor: not attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Net(nn.Module):
    """conv, norm, gate, pool, classifier."""

    def __init__(self, gate: nn.Module, channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.att = gate
        self.fc = nn.Linear(channels, 10)

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.att(self.features(x)).mean((2, 3)))
        return out


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def se_net() -> Net:
    return Net(SqueezeExcite(4)).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 8, 8)
