import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stripe.attention import SRM


def random_srm(channels: int) -> SRM:
    module = SRM(channels).double()
    for tensor in (module.cfc, module.bn.weight, module.bn.bias, module.bn.running_mean):
        torch.nn.init.normal_(tensor)
    torch.nn.init.uniform_(module.bn.running_var, 0.5, 2)
    return module


def style(module: SRM, x: np.ndarray) -> np.ndarray:
    """w₁·mean + w₂·standard deviation, (N, C)."""
    cfc = module.cfc.detach().numpy()
    return cfc[:, 0] * x.mean(axis=(2, 3)) + cfc[:, 1] * np.sqrt(x.var(axis=(2, 3)) + 1e-5)


def normalised(module: SRM, values: np.ndarray, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    weight, bias = module.bn.weight.detach().numpy(), module.bn.bias.detach().numpy()
    return 1 / (1 + np.exp(-((values - mean) / np.sqrt(var + 1e-5) * weight + bias)))


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(2, 4),
    channels=st.integers(1, 9),
    size=st.integers(1, 5),
    training=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_gate_is_the_formula(batch: int, channels: int, size: int, training: bool, seed: int) -> None:
    torch.manual_seed(seed)
    module = random_srm(channels).train(training)
    x = torch.randn(batch, channels, size, size + 1, dtype=torch.float64)
    values = style(module, x.numpy())
    if training:
        mean, var = values.mean(axis=0), values.var(axis=0)
    else:
        mean, var = module.bn.running_mean.numpy(), module.bn.running_var.numpy()
    expected = normalised(module, values, mean, var)

    gate = module.gate(x)

    assert gate.shape == (batch, channels, 1, 1)
    np.testing.assert_allclose(gate.detach().numpy()[:, :, 0, 0], expected, rtol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_a_constant_is_normalised_by_fixed_statistics(training: bool) -> None:
    torch.manual_seed(0)
    module = random_srm(6).train(training)
    psi = torch.randn(6, dtype=torch.float64)
    one_pixel = psi.numpy()[None, :, None, None]
    expected = normalised(module, style(module, one_pixel), np.zeros(6), np.ones(6))[0]
    before = module.bn.running_mean.clone()

    np.testing.assert_allclose(module.constant(psi).detach().numpy(), expected, rtol=1e-12)
    assert torch.equal(module.bn.running_mean, before)
