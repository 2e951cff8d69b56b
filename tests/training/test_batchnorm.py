"""Against torch's own, in a world of one; what several processes have in common is tested in ``test_world``."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from stripe.training.batchnorm import CommonBatchNorm


@pytest.fixture(autouse=True)
def _alone():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3), (6, 4, 3, 5)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
def test_outputs_gradients_and_running_statistics(shape, affine, tracked):
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)]
    results = []
    for common in (False, True):
        torch.manual_seed(0)
        layer = kind(4, affine=affine, track_running_stats=tracked).double()
        x = (100 + torch.randn(shape, dtype=torch.float64)).requires_grad_()
        target = torch.randn(shape, dtype=torch.float64)
        if common:
            with CommonBatchNorm(0, 1):
                y = layer(x)
        else:
            y = layer(x)
        (y * target).sum().backward()
        gradients = [x.grad, *(parameter.grad for parameter in layer.parameters())]
        results.append([y, *gradients, *layer.buffers()])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_large_mean_does_not_swallow_the_variance():
    x = 1000 + torch.randn(64, 2, 4, 4)
    expected = (x.double() - x.double().mean((0, 2, 3), True)) / x.double().std((0, 2, 3), correction=0, keepdim=True)
    with CommonBatchNorm(0, 1):
        found = nn.BatchNorm2d(2)(x)
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=0)


def test_half_precision_stays_half_and_counts_in_float32():
    layer, x = nn.BatchNorm2d(4), torch.randn(8, 4, 16, 16).bfloat16()
    with CommonBatchNorm(0, 1):
        found = layer(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * x.float().var((0, 2, 3)))


def test_evaluation_uses_the_running_statistics():
    layer = nn.BatchNorm2d(4).eval()
    x = torch.randn(2, 4, 3, 3)
    with CommonBatchNorm(0, 1):
        assert torch.equal(layer(x), nn.BatchNorm2d(4).eval()(x))
    assert layer.running_mean.eq(0).all()
