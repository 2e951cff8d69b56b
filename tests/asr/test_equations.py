"""Equations 5–12 of the Stripe Observation paper: layer(x; θ) ⊙ v = layer(x; θ ⊙ v), for every kind of layer."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stripe import asr
from stripe.attention import ATTENTION

from .layers import CHANNELS, KINDS, along, randomised

KAPPAS = [name for name, cls in ATTENTION.items() if cls.kind == "channel"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kappa=st.sampled_from(KAPPAS),
    copies=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    learnable=st.booleans(),
    training=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_scaling_weights_is_scaling_the_output(
    kind: str, kappa: str, copies: int, dtype: torch.dtype, learnable: bool, training: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    case = KINDS[kind]
    plain = nn.ModuleDict({"layer": randomised(case.make())}).to(dtype).train(training)
    x = torch.randn(case.input_shape, dtype=dtype)
    model = copy.deepcopy(plain)
    asr.reparameterize(model, "layer", kappa, copies=copies, learnable=learnable, psi="N0.5")
    for module in model.modules():
        if isinstance(module, asr.ASR):
            randomised(module.attention)
    value = asr.values(model)["layer"]
    fused = asr.fuse(model)

    with torch.no_grad():
        y, unfused, output = (net["layer"](x).double() for net in (plain, model, fused))
    expected = y * along(value.double(), case.axis, y.ndim)

    assert value.shape == (CHANNELS,)
    assert value.dtype == dtype
    largest = float(expected.abs().max())
    difference = float((output - unfused).abs().max())
    assert difference <= (0 if case.norm else 1e-6 * largest)
    if dtype != torch.bfloat16:  # whose own rounding is the difference between the two sides
        error = float((output - expected).abs().max())
        assert error <= (1e-6 if dtype == torch.float32 else 1e-14) * largest
    # Nothing is left of it, and the plain network takes the weights.
    assert list(fused.state_dict()) == list(plain.state_dict())
    assert str(fused) == str(plain)
    plain.load_state_dict(fused.state_dict())
    assert type(fused["layer"]) is type(plain["layer"])


def test_values_worked_out_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        model[0].bias.copy_(torch.tensor([10.0, 20.0]))
    asr.reparameterize(model, "0", "ie", psi=2.0)  # v = σ(w·ψ + b)
    attention = model[0].parametrizations.weight[0].asr.attention
    with torch.no_grad():
        attention.weight.copy_(torch.tensor([0.0, 1.0]))
        attention.bias.copy_(torch.tensor([0.0, -2.0]))
    # σ(0) = ½ for both channels
    torch.testing.assert_close(model(torch.ones(1, 2)), torch.tensor([[6.5, 13.5]]))
    fused = asr.fuse(model)
    torch.testing.assert_close(fused[0].weight, nn.Parameter(torch.tensor([[0.5, 1.0], [1.5, 2.0]])))
    torch.testing.assert_close(fused[0].bias, nn.Parameter(torch.tensor([5.0, 10.0])))
