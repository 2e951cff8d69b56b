import pytest
import torch
from torch import nn

from stripe import asr
from stripe.errors import StripeError


class Nothing(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return []


def linear(weight: list[float]) -> nn.Module:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([weight])
    return nn.Sequential(layer)


def test_differences_worked_out_by_hand() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    model, other = linear([2.0, -4.0]), linear([2.5, -4.0])
    assert asr.compare(model, other, images, torch.float64) == asr.Difference("float64", 0.5, 0.125)
    assert asr.compare(model, model, images, torch.float32) == asr.Difference("float32", 0, 0)
    assert model[0].weight.dtype == torch.float32
    assert asr.compare(linear([0.0, 0.0]), other, images, torch.float32).relative == 4


def test_networks_stay_in_training_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2)).train()
    asr.compare(model, model, torch.randn(4, 2), torch.float32)
    assert model.training
    assert model[0].num_batches_tracked == 0


def test_what_cannot_be_compared() -> None:
    images = torch.ones(1, 2)
    with pytest.raises(StripeError, match="not all finite"):
        asr.compare(linear([float("nan"), 0.0]), linear([0.0, 0.0]), images, torch.float32)
    with pytest.raises(StripeError, match="returns a list"):
        asr.compare(Nothing(), Nothing(), images, torch.float32)
