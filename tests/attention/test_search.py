"""Modules whose structure is searched, by the formula of the report's section 2, in numpy."""

import numpy as np
import pytest
import torch

from stripe.attention import ATTENTION, attention
from stripe.attention.search import OPERATIONS, SSCBAM, MixedAttention
from stripe.capture import discover
from stripe.errors import StripeError
from stripe.models import build

MIXED = [name for name, cls in ATTENTION.items() if issubclass(cls, MixedAttention)]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def ca(module: SSCBAM, x: np.ndarray) -> np.ndarray:
    """CBAM, equation 2, times the map."""
    w1, w2 = (layer.weight.detach().numpy() for layer in (module.channel.fc1, module.channel.fc2))
    logits = sum(np.maximum(pooled @ w1.T, 0) @ w2.T for pooled in (x.mean((2, 3)), x.max((2, 3))))
    return x * sigmoid(np.asarray(logits))[:, :, None, None]


def sa(module: SSCBAM, x: np.ndarray) -> np.ndarray:
    """CBAM, equation 3, times the map."""
    weight = module.spatial.conv.weight.detach().numpy()[0]
    k = weight.shape[-1]
    padded = np.pad(np.stack([x.mean(1), x.max(1)], axis=1), ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))
    return x * sigmoid(np.einsum("nchwij,cij->nhw", windows, weight))[:, None]


@pytest.mark.parametrize("kernel_size", [7, 3])
def test_it_is_the_weighed_sum_of_the_five_ways(kernel_size: int) -> None:
    torch.manual_seed(0)
    module = SSCBAM(16, kernel_size=kernel_size).double()
    alpha = np.array([0.3, -1.0, 0.5, 2.0, 0.0])
    module.alpha.data = torch.from_numpy(alpha)
    p = np.exp(alpha) / np.exp(alpha).sum()
    x = torch.randn(2, 16, 5, 4, dtype=torch.float64)
    m = x.numpy()
    expected = p[0] * m + p[1] * sa(module, ca(module, m)) + p[2] * ca(module, sa(module, m))
    expected += p[3] * ca(module, m) + p[4] * sa(module, m)
    # The softmax is computed in float32, for networks that are computed in less.
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose((x * module.gate(x)).detach().numpy(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", MIXED)
def test_all_ways_begin_equal_and_learn(name: str) -> None:
    torch.manual_seed(0)
    module = attention(name, 8)
    assert module.weights().tolist() == pytest.approx([1 / len(OPERATIONS)] * len(OPERATIONS))
    module(torch.randn(2, 8, 6, 6)).square().sum().backward()
    assert module.alpha.grad is not None
    assert module.alpha.grad.abs().min() > 0
    assert module.alpha.grad.sum().item() == pytest.approx(
        0, abs=1e-3
    )  # a softmax does not see what all have in common


@pytest.mark.parametrize("operation", range(5))
def test_with_all_the_weight_on_one_way_it_is_that_way(operation: int) -> None:
    torch.manual_seed(0)
    module = SSCBAM(8).double()
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    module.alpha.data[operation] = 200.0
    channel, spatial = module.channel, module.spatial
    ways = [x, spatial(channel(x)), channel(spatial(x)), channel(x), spatial(x)]
    torch.testing.assert_close(module(x), ways[operation])


def test_parameters_are_those_of_cbam_and_alpha() -> None:
    assert sum(p.numel() for p in SSCBAM(64).parameters()) == 2 * 64 * 4 + 2 * 49 + 5
    assert sum(p.numel() for p in SSCBAM(64, kernel_size=3).parameters()) == 2 * 64 * 4 + 2 * 9 + 5


def test_a_capture_sees_the_four_gates_of_each_block_and_not_the_weights() -> None:
    torch.manual_seed(0)
    sites = discover(build("resnet11", attention="sscbam"), torch.rand(2, 3, 32, 32))
    block = [site for site in sites if site.is_attention and site.name.startswith("layer1.0")]
    assert [(site.name.removeprefix("layer1.0.attention_module."), site.kind) for site in block] == [
        ("channel", "channel"),
        ("spatial", "spatial"),
        ("spatial#2", "spatial"),
        ("channel#2", "channel"),
    ]
    assert not any(site.input_dependent for site in sites if site.owner == "SSCBAM")


@pytest.mark.parametrize("name", MIXED)
def test_a_constant_is_refused(name: str) -> None:
    with pytest.raises(StripeError, match="a constant ψ has none, so it cannot be used for ASR"):
        attention(name, 8).constant(torch.zeros(8))
