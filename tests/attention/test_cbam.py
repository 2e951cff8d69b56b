import numpy as np
import pytest
import torch

from stripe.attention import CBAM, ChannelGate, SpatialGate


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def channel_oracle(module: ChannelGate, x: np.ndarray) -> np.ndarray:
    w1, w2 = module.fc1.weight.detach().numpy(), module.fc2.weight.detach().numpy()
    logits = sum(np.maximum(s @ w1.T, 0) @ w2.T for s in (x.mean((2, 3)), x.max((2, 3))))
    return sigmoid(np.asarray(logits))


def spatial_oracle(module: SpatialGate, x: np.ndarray) -> np.ndarray:
    weight = module.conv.weight.detach().numpy()[0]  # (2, k, k)
    k = weight.shape[-1]
    pooled = np.stack([x.mean(1), x.max(1)], axis=1)  # (N, 2, H, W)
    padded = np.pad(pooled, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    out = np.empty((x.shape[0], *x.shape[2:]))
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            out[:, i, j] = (padded[:, :, i : i + k, j : j + k] * weight).sum((1, 2, 3))
    return sigmoid(out)


@pytest.mark.parametrize("shape", [(2, 64, 5, 4), (1, 3, 1, 1), (1, 16, 1, 6)])
def test_gates_are_the_formulas(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = CBAM(shape[1]).double()
    x = torch.randn(shape, dtype=torch.float64)
    channel = channel_oracle(module.channel, x.numpy())
    refined = x.numpy() * channel[:, :, None, None]
    spatial = spatial_oracle(module.spatial, refined)

    assert module.channel.gate(x).shape == (*shape[:2], 1, 1)
    np.testing.assert_allclose(module.channel.gate(x).detach().numpy()[:, :, 0, 0], channel, rtol=1e-12)
    gate = module.spatial.gate(torch.from_numpy(refined))
    assert gate.shape == (shape[0], 1, *shape[2:])
    np.testing.assert_allclose(gate.detach().numpy()[:, 0], spatial, rtol=1e-12)
    np.testing.assert_allclose(module(x).detach().numpy(), refined * spatial[:, None], rtol=1e-12, atol=1e-15)


def test_forward_is_the_input_times_the_gate() -> None:
    torch.manual_seed(0)
    module = CBAM(32)
    x = torch.randn(2, 32, 6, 6)
    torch.testing.assert_close(module(x), x * module.gate(x))


def test_on_one_pixel_average_and_maximum_agree() -> None:
    torch.manual_seed(0)
    module = ChannelGate(16)
    psi = torch.rand(1, 16, 1, 1)
    mlp = module.fc2(torch.relu(module.fc1(psi[:, :, 0, 0])))
    torch.testing.assert_close(module.gate(psi)[:, :, 0, 0], torch.sigmoid(2 * mlp))


@pytest.mark.parametrize(("channels", "expected"), [(64, 2 * 64 * 4 + 98), (8, 2 * 8 * 1 + 98)])
def test_parameter_count(channels: int, expected: int) -> None:
    module = CBAM(channels)
    assert sum(p.numel() for p in module.parameters()) == expected
    assert not any(name.endswith("bias") for name, _ in module.named_parameters())
