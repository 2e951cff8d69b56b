import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stripe import asr, checkpoint
from stripe.asr.noise import add_noise, has_noise
from stripe.errors import StripeError
from stripe.models import build

NUMBERS = st.floats(-2, 2, allow_subnormal=False)


def varied(model):
    """A network none of whose parameters and statistics is what it begins with."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(0.2 * torch.rand_like(tensor))
    return model


@settings(max_examples=20, deadline=None)
@given(factor=NUMBERS, offset=NUMBERS, training=st.booleans(), with_asr=st.booleans())
def test_the_formula(factor, offset, training, with_asr):
    """BN(x) = ((x̂ N_a + N_b) γ + β) v, from x̂ of a normalisation without γ and β."""
    torch.manual_seed(0)
    model = nn.Sequential(varied(nn.BatchNorm2d(3))).double()
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    norm, v = model[0], torch.ones(3, dtype=torch.float64)
    normalised = copy.deepcopy(norm)
    nn.init.ones_(normalised.weight)
    nn.init.zeros_(normalised.bias)
    gamma, beta = (tensor.detach().clone().view(-1, 1, 1) for tensor in (norm.weight, norm.bias))
    if with_asr:
        asr.reparameterize(model, "0")
        v = asr.values(model)["0"]
    assert add_noise(model, factor, offset) == ["0"]
    model.train(training)
    normalised.train(training)
    expected = ((normalised(x) * factor + offset) * gamma + beta) * v.view(-1, 1, 1)
    torch.testing.assert_close(model(x), expected)


def test_gamma_learns_from_the_offset_too():
    """∂/∂γ of Σ BN(x) is Σ (x̂ N_a + N_b), and x̂ sums to 0."""
    model = nn.Sequential(nn.BatchNorm2d(2))
    add_noise(model, 0.8, 0.5)
    model(torch.randn(4, 2, 3, 3)).sum().backward()
    gradient = dict(model.named_parameters())["0.parametrizations.weight.original"].grad
    torch.testing.assert_close(gradient, torch.full((2,), 0.5 * 4 * 9), atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", [None, "se", "srm", "dia"])
@pytest.mark.parametrize("std", [0.0, 0.2])
def test_fusing_is_exact_and_leaves_the_plain_network(attention, std):
    model = build("resnet20")
    if attention:
        asr.reparameterize(model, attention=attention, copies=2)
    add_noise(model, 0.8, 0.5, std=std)
    varied(model).eval()
    x = torch.rand(2, 3, 32, 32)
    fused = asr.fuse(model)
    assert torch.equal(fused(x), model(x))
    build("resnet20").load_state_dict(fused.state_dict())
    assert not any(has_noise(layer) for layer in fused.modules())
    assert has_noise(model.bn1)


def test_every_normalisation_of_the_backbone_and_none_of_kappa():
    model = build("resnet11", attention="srm")
    asr.reparameterize(model, attention="srm")
    names = add_noise(model, 0.8, 0.5)
    plain = [name for name, layer in build("resnet11").named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert names == plain
    assert len(names) == 13


def test_random_noise_is_drawn_once_around_the_given_numbers():
    model = nn.Sequential(nn.BatchNorm1d(100_000))
    add_noise(model, 0.8, 0.5, std=0.1)
    for tensor, mean in (("weight", 0.8), ("bias", 0.5)):
        noise = model[0].parametrizations[tensor][0].noise
        assert noise.mean().item() == pytest.approx(mean, abs=2e-3)
        assert noise.std().item() == pytest.approx(0.1, abs=2e-3)
    x = torch.randn(2, 100_000)
    assert torch.equal(model(x), model(x))
    assert not noise.requires_grad


@pytest.mark.parametrize("with_asr", [True, False])
def test_a_checkpoint_brings_its_noise_with_it(tmp_path, with_asr):
    model = build("resnet11", num_classes=10)
    if with_asr:
        asr.reparameterize(model)
    noise = {"factor": 0.8, "offset": 0.5, "std": 0.3}
    add_noise(model, **noise)
    meta = {"model": "resnet11", "num_classes": 10, "asr": {} if with_asr else None, "noise": noise}
    checkpoint.save(tmp_path / "noisy.safetensors", varied(model), meta)
    restored = asr.restore(checkpoint.read(tmp_path / "noisy.safetensors"))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(restored.eval()(x), model.eval()(x))

    checkpoint.save(tmp_path / "damaged.safetensors", model, {**meta, "noise": {"loud": 1}})
    with pytest.raises(StripeError, match="its description of noise"):
        asr.restore(checkpoint.read(tmp_path / "damaged.safetensors"))


@pytest.mark.parametrize(
    ("model", "noise", "message"),
    [
        (nn.Linear(2, 2), (0.8, 0.5), "no batch normalisation"),
        (nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2, affine=False)), (0.8, 0.5), "1 has no weight and bias"),
        (nn.BatchNorm2d(2), (float("nan"), 0.5), "finite"),
        (nn.BatchNorm2d(2), (0.8, float("inf")), "finite"),
    ],
)
def test_what_cannot_be_disturbed(model, noise, message):
    before = str(model)
    with pytest.raises(StripeError, match=message):
        add_noise(model, *noise)
    assert str(model) == before


def test_noise_comes_once():
    model = build("resnet11")
    add_noise(model, 0.8, 0.5)
    with pytest.raises(StripeError, match="bn1 has noise already"):
        add_noise(model, 0.8, 0.5)
