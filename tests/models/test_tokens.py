import numpy as np
import pytest
import torch
from torch import nn

from stripe.attention import CBAM, ECA, SE
from stripe.errors import StripeError
from stripe.models.insertion import TokenAttention


@torch.no_grad()
def test_se_over_features_with_tanh() -> None:
    se = SE(32)
    x = torch.randn(3, 7, 32)
    got = TokenAttention(se)(x).numpy()
    u = x.numpy().mean(1)
    hidden = np.maximum(u @ se.fc1.weight.numpy().T + se.fc1.bias.numpy(), 0)
    v = np.tanh(hidden @ se.fc2.weight.numpy().T + se.fc2.bias.numpy())
    np.testing.assert_allclose(got, x.numpy() * v[:, None, :], rtol=1e-4, atol=1e-6)


def test_only_this_module_has_tanh() -> None:
    TokenAttention(ECA(8))
    assert ECA(8).activation is torch.sigmoid


@pytest.mark.parametrize("attention", [CBAM(8), nn.Identity()])
def test_spatial_attention_is_refused(attention: nn.Module) -> None:
    with pytest.raises(StripeError, match="no channel attention"):
        TokenAttention(attention)
