import numpy as np
import pytest
import torch

from stripe.attention import ChannelGate, SpatialGate, attention
from stripe.capture import discover
from stripe.models import build


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def channel_oracle(module: ChannelGate, x: np.ndarray, second: str) -> np.ndarray:
    """v (N, C) of CBAM's channel half (second statistic: max) or MVAM's (var)."""
    w1, w2 = module.fc1.weight.detach().numpy(), module.fc2.weight.detach().numpy()
    of_positions = x.reshape(*x.shape[:2], -1)
    logits = [np.maximum(s @ w1.T, 0) @ w2.T for s in (of_positions.mean(2), getattr(of_positions, second)(2))]
    return sigmoid(logits[0] + logits[1])[:, :, None, None]


def spatial_oracle(module: SpatialGate, x: np.ndarray, second: str) -> np.ndarray:
    """v (N, 1, H, W), the convolution written as a sum over its taps."""
    weight = module.conv.weight.detach().numpy()[0]
    reach = weight.shape[-1] // 2
    pooled = np.stack([x.mean(1), getattr(x, second)(1)], axis=1)
    padded = np.pad(pooled, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[1:], axis=(2, 3))
    return sigmoid(np.einsum("nchwij,cij->nhw", windows, weight))[:, None]


@pytest.mark.parametrize(("family", "second"), [("cbam", "max"), ("mvam", "var")])
@pytest.mark.parametrize("order", ["ca>sa", "sa>ca", "ca|sa", "ca", "sa"])
@pytest.mark.parametrize("kernel", ["", ",k=3"])
@pytest.mark.parametrize("shape", [(2, 32, 5, 4), (1, 3, 1, 1)])
def test_every_order_is_the_formula(family: str, second: str, order: str, kernel: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = attention(f"{family}:{order}{'' if order == 'ca' else kernel}", shape[1]).double()
    x = torch.randn(shape, dtype=torch.float64)
    ca = module if order == "ca" else getattr(module, "channel", None)
    sa = module if order == "sa" else getattr(module, "spatial", None)

    def weighed(y: np.ndarray, half: str) -> np.ndarray:
        return y * (channel_oracle(ca, y, second) if half == "ca" else spatial_oracle(sa, y, second))

    if order == "ca|sa":
        expected = (weighed(x.numpy(), "ca") + weighed(x.numpy(), "sa")) / 2
    else:
        expected = x.numpy()
        for half in order.split(">"):
            expected = weighed(expected, half)
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(module(x), x * module.gate(x))


def test_a_constant_has_no_variance() -> None:
    torch.manual_seed(0)
    module = attention("mvam:ca", 32)
    psi = torch.randn(32)
    mlp = torch.relu(psi @ module.fc1.weight.T) @ module.fc2.weight.T
    torch.testing.assert_close(module.constant(psi), torch.sigmoid(mlp))


@pytest.mark.parametrize("name", ["cbam", "mvam"])
def test_parameter_count(name: str) -> None:
    for order in ("ca>sa", "sa>ca", "ca|sa"):
        assert sum(p.numel() for p in attention(f"{name}:{order}", 64).parameters()) == 2 * 64 * 4 + 98


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("mvam", ["channel", "spatial"]),
        ("mvam:sa>ca", ["spatial", "channel"]),
        ("mvam:ca|sa", ["channel", "spatial"]),
        ("cbam:ca|sa,k=3", ["channel", "spatial"]),
        ("mvam:sa", ["spatial"]),
    ],
)
def test_each_half_is_a_site(text: str, kinds: list[str]) -> None:
    sites = [
        site for site in discover(build("resnet11", attention=text), torch.randn(2, 3, 32, 32)) if site.is_attention
    ]
    assert [site.kind for site in sites] == kinds * 3
    assert {site.shape for site in sites if site.kind == "spatial"} == {(32, 32), (16, 16), (8, 8)}
