import copy

import pytest
import torch
from torch import Tensor, nn

from stripe import asr
from stripe.attention import IE


class Counting(IE):
    calls = 0

    def constant(self, psi: Tensor) -> Tensor:
        Counting.calls += 1
        return super().constant(psi)


@pytest.fixture
def model() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4))
    asr.reparameterize(model, ["0", ("1", "2")], Counting)
    Counting.calls = 0
    return model


def test_once_inside_however_often_it_is_used(model: nn.Module) -> None:
    x = torch.randn(3, 4)
    model(x)
    assert Counting.calls == 6  # weight and bias of three layers
    Counting.calls = 0
    with asr.cached():
        model(x)
        with asr.cached():
            model(x)
        model(x)
        assert Counting.calls == 2
    with asr.cached():
        model(x)
    assert Counting.calls == 4


def test_it_ends_with_an_exception(model: nn.Module) -> None:
    with pytest.raises(RuntimeError), asr.cached():
        model(torch.randn(3, 5))
    Counting.calls = 0
    model(torch.randn(3, 4))
    assert Counting.calls == 6


def test_gradients_are_the_same(model: nn.Module) -> None:
    x = torch.randn(3, 4)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(x).square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    plain = gradients()
    with asr.cached():
        cached = gradients()
    for one, other in zip(plain, cached, strict=True):
        torch.testing.assert_close(one, other)


def test_a_copy_is_another_network(model: nn.Module) -> None:
    # torch.nn.utils.parametrize.cached would give the copy the original's values.
    other = copy.deepcopy(model)
    nn.init.constant_(other[0].parametrizations.weight[0].asr.attention.bias, 5)
    x = torch.randn(3, 4)
    expected = model[0](x), other[0](x)
    with asr.cached():
        assert torch.equal(model[0](x), expected[0])
        assert torch.equal(other[0](x), expected[1])
    assert not torch.equal(*expected)


def test_after_a_step_values_are_new(model: nn.Module) -> None:
    with asr.cached():
        before = asr.values(model)["0"]
    nn.init.zeros_(model[0].parametrizations.weight[0].asr.attention.bias)
    with asr.cached():
        torch.testing.assert_close(asr.values(model)["0"], torch.full((4,), 0.5))  # σ(0)
    assert not torch.equal(before, torch.full((4,), 0.5))
