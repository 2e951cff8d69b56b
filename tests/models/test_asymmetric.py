import numpy as np
import pytest
import torch
from torch import nn

from stripe.models.asymmetric import AsymmetricConv


def test_every_scale_begins_at_a_third() -> None:
    scales = [module.weight for module in AsymmetricConv(3, 5).modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(scales) == 3
    assert all((scale == 1 / 3).all() for scale in scales)


def test_a_cross_and_a_square_are_added() -> None:
    block = AsymmetricConv(1, 1).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(1)
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0
                module.bias.zero_()
        impulse = torch.zeros(1, 1, 5, 5)
        impulse[0, 0, 2, 2] = 1
        got = block(impulse)[0, 0, 1:4, 1:4]
    np.testing.assert_array_equal(got, [[1, 2, 1], [2, 3, 2], [1, 2, 1]])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [8, 9])
def test_shapes(stride: int, size: int) -> None:
    block = AsymmetricConv(4, 6, stride)
    expected = (2, 6, -(-size // stride), -(-size // stride))
    assert block(torch.randn(2, 4, size, size)).shape == expected
    block.reparameterize()
    assert block(torch.randn(2, 4, size, size)).shape == expected


def test_parameters() -> None:
    block = AsymmetricConv(4, 6)
    assert sum(p.numel() for p in block.parameters()) == 15 * 4 * 6 + 6 * 6
    block.reparameterize()
    assert sum(p.numel() for p in block.parameters()) == 9 * 4 * 6 + 6
    block.reparameterize()  # a second time is no error
    assert list(block.state_dict()) == ["reparam_conv.weight", "reparam_conv.bias"]
