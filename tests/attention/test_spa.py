import numpy as np
import pytest
import torch

from stripe.attention import SPA


def pool(x: np.ndarray, cells: int) -> np.ndarray:
    """Means of cells whose borders are ⌊i·size/cells⌋ and ⌈(i+1)·size/cells⌉, (N, C·cells²)."""
    n, c, height, width = x.shape

    def borders(size: int) -> list[slice]:
        return [slice(i * size // cells, -((-(i + 1) * size) // cells)) for i in range(cells)]

    pooled = [x[:, :, rows, columns].mean(axis=(2, 3)) for rows in borders(height) for columns in borders(width)]
    return np.stack(pooled, axis=2).reshape(n, c * cells**2)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (4, 4), (7, 9)])
def test_gate_is_the_formula(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module = SPA(16).double()
    x = torch.randn(3, 16, *size, dtype=torch.float64)
    pyramid = np.concatenate([pool(x.numpy(), cells) for cells in (1, 2, 4)], axis=1)
    w1, w2 = module.fc1.weight.detach().numpy(), module.fc2.weight.detach().numpy()
    expected = 1 / (1 + np.exp(-(np.maximum(pyramid @ w1.T, 0) @ w2.T)))

    gate = module.gate(x)

    assert gate.shape == (3, 16, 1, 1)
    np.testing.assert_allclose(gate.detach().numpy()[:, :, 0, 0], expected, rtol=1e-12)


@pytest.mark.parametrize(("channels", "hidden"), [(1, 1), (16, 1), (64, 4), (256, 16)])
def test_parameter_count(channels: int, hidden: int) -> None:
    assert sum(p.numel() for p in SPA(channels).parameters()) == 22 * channels * hidden
