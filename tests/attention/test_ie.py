import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stripe.attention import IE


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 9),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_gate_is_the_formula(batch: int, channels: int, height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    module = IE(channels).double()
    torch.nn.init.normal_(module.weight)
    x = torch.randn(batch, channels, height, width, dtype=torch.float64)
    weight, bias = module.weight.detach().numpy(), module.bias.detach().numpy()
    expected = 1 / (1 + np.exp(-(weight * x.numpy().mean(axis=(2, 3)) + bias)))

    gate = module.gate(x)

    assert gate.shape == (batch, channels, 1, 1)
    np.testing.assert_allclose(gate.detach().numpy()[:, :, 0, 0], expected, rtol=1e-12)


def test_it_begins_the_same_for_every_image() -> None:
    gate = IE(4).gate(torch.randn(3, 4, 2, 2))
    torch.testing.assert_close(gate, torch.full((3, 4, 1, 1), 0.2689414))  # σ(−1)
