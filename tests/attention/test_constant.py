"""What each attention module makes of a constant ψ, which is what ASR asks it for."""

import pytest
import torch

from stripe.attention import ATTENTION, CBAM, SE, Attention, SpatialGate, attention
from stripe.errors import StripeError


@pytest.mark.parametrize(
    "name", [name for name, cls in ATTENTION.items() if cls.kind == "channel" and name not in ("srm", "dia")]
)
@pytest.mark.parametrize("size", [(1, 1), (5, 3)])
def test_it_is_the_gate_of_a_map_that_is_the_same_everywhere(name: str, size: tuple[int, int]) -> None:
    module = attention(name, 32).double()
    assert isinstance(module, Attention)
    psi = torch.randn(32, dtype=torch.float64)
    flat = psi[None, :, None, None].expand(1, 32, *size)
    assert module.constant(psi).shape == (32,)
    torch.testing.assert_close(module.constant(psi), module.gate(flat)[0, :, 0, 0], rtol=1e-12, atol=0)


def test_the_channel_half_of_cbam_counts_a_constant_twice() -> None:
    module = attention("cbam-channel", 16)
    psi = torch.randn(16)
    mlp = torch.relu(psi @ module.fc1.weight.T) @ module.fc2.weight.T
    torch.testing.assert_close(module.constant(psi), torch.sigmoid(2 * mlp))


@pytest.mark.parametrize("module", [CBAM(8), SpatialGate()])
def test_weights_of_positions_are_refused(module: Attention) -> None:
    with pytest.raises(StripeError, match="weighs the positions of a map, and a constant ψ has none"):
        module.constant(torch.zeros(8))


@pytest.mark.parametrize("name", [name for name, cls in ATTENTION.items() if cls.kind == "channel"])
def test_another_activation(name: str) -> None:
    module = attention(name, 16)
    psi = torch.randn(16)
    usual = module.constant(psi)
    module.activation = torch.zeros_like
    assert usual.all()
    assert not module.constant(psi).any()
    assert SE.activation is torch.sigmoid  # others keep theirs
