import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from stripe import asr
from stripe.errors import StripeError
from stripe.models import build


@pytest.fixture
def model() -> nn.Module:
    model = build("resnet11")
    asr.reparameterize(model, attention="ie")
    return model.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16)


def test_a_copy_shares_nothing_with_the_original(model: nn.Module, images: torch.Tensor) -> None:
    before = copy.deepcopy(model.state_dict())
    expected = model(images)
    fused = asr.fuse(model)
    for parameter in fused.parameters():
        nn.init.zeros_(parameter)
    assert asr.values(model)
    assert not asr.values(fused)
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert torch.equal(model(images), expected)


def test_in_place_keeps_module_and_parameters(model: nn.Module, images: torch.Tensor) -> None:
    expected = model(images)
    weight = model.layer1[0].bn3.parametrizations.weight.original
    assert asr.fuse(model, inplace=True) is model
    assert model.layer1[0].bn3.weight is weight  # an optimiser that holds it still does
    assert weight.requires_grad
    assert torch.equal(model(images), expected)


def test_copies_fuse_one_by_one(model: nn.Module, images: torch.Tensor) -> None:
    # Torch lets deep copies of a parametrized layer share the class that holds its parametrized tensors.
    expected = model(images)
    copies = [copy.deepcopy(model) for _ in range(3)]
    for first in copies:
        asr.fuse(first, inplace=True)
        assert all(torch.equal(other(images), expected) for other in (model, *copies))


def test_once_is_enough(model: nn.Module, images: torch.Tensor) -> None:
    fused = asr.fuse(model)
    again = asr.fuse(fused)
    assert again is not fused
    assert torch.equal(again(images), fused(images))
    assert asr.fuse(fused, inplace=True) is fused


def test_part_of_a_network(model: nn.Module, images: torch.Tensor) -> None:
    expected = model(images)
    asr.fuse(model.layer2, inplace=True)
    assert list(asr.values(model)) == ["layer1.0.bn3", "layer3.0.bn3"]
    assert torch.equal(model(images), expected)


def test_a_tensor_that_others_have_parametrized_since(model: nn.Module) -> None:
    parametrizations.weight_norm(model.layer1[0].bn3, dim=None)
    with pytest.raises(StripeError, match=r"layer1\.0\.bn3 is parametrized by _WeightNorm as well as ASR"):
        asr.fuse(model, inplace=True)
    assert asr.values(model)


def test_a_compiled_network_computes_the_same(images: torch.Tensor) -> None:
    model = build("resnet11")
    asr.reparameterize(model, attention="dia")
    compiled = torch.compile(model.eval(), backend="eager", fullgraph=True)
    with torch.no_grad(), asr.cached():
        torch.testing.assert_close(compiled(images), model(images))
    with torch.no_grad():
        next(module.psi for module in model.modules() if isinstance(module, asr.ASR)).add_(1)
        torch.testing.assert_close(compiled(images), model(images))
