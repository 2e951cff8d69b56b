import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stripe.attention import SE
from stripe.attention.base import hidden_width


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 16, 24, 64]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_gate_is_the_formula(batch: int, channels: int, height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    module = SE(channels).double()
    x = torch.randn(batch, channels, height, width, dtype=torch.float64)
    w1, b1 = module.fc1.weight.detach().numpy(), module.fc1.bias.detach().numpy()
    w2, b2 = module.fc2.weight.detach().numpy(), module.fc2.bias.detach().numpy()
    squeezed = x.numpy().reshape(batch, channels, -1).mean(axis=2)
    expected = sigmoid(np.maximum(squeezed @ w1.T + b1, 0) @ w2.T + b2)

    gate = module.gate(x)

    assert gate.shape == (batch, channels, 1, 1)
    np.testing.assert_allclose(gate.detach().numpy()[:, :, 0, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(
        module(x).detach().numpy(), x.numpy() * expected[:, :, None, None], rtol=1e-12, atol=1e-15
    )


def test_a_value_worked_out_by_hand() -> None:
    module = SE(2, reduction=2)  # one hidden unit
    with torch.no_grad():
        module.fc1.weight.copy_(torch.tensor([[1.0, 2.0]]))
        module.fc1.bias.fill_(0.5)
        module.fc2.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        module.fc2.bias.copy_(torch.tensor([0.0, 3.5]))
    x = torch.stack([torch.full((2, 2), 1.0), torch.full((2, 2), 0.5)])[None]
    # GAP (1, 0.5) → hidden relu(1 + 1 + 0.5) = 2.5 → σ(2.5), σ(3.5 − 2.5)
    torch.testing.assert_close(module.gate(x)[0, :, 0, 0], torch.sigmoid(torch.tensor([2.5, 1.0])))


@pytest.mark.parametrize(("channels", "hidden"), [(4, 1), (16, 1), (24, 2), (40, 2), (64, 4), (256, 16)])
def test_parameter_count(channels: int, hidden: int) -> None:
    assert hidden_width(channels, 16) == hidden
    assert sum(p.numel() for p in SE(channels).parameters()) == 2 * channels * hidden + hidden + channels


def test_a_constant_input_of_one_pixel_is_its_own_average() -> None:
    module = SE(16)
    psi = torch.full((1, 16, 1, 1), 0.1)
    torch.testing.assert_close(module.gate(psi), module.gate(psi.expand(1, 16, 4, 4)))


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    module = SE(64)
    module(torch.randn(4, 64, 3, 3)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
