import numpy as np
import pytest
import torch

from stripe.attention import ECA
from stripe.attention.eca import kernel_size


# By hand from |log2(C)/2 + 1/2|: 16 → 2.5, 64 → 3.5, 128 → 4, 256 → 4.5, 512 → 5, 2048 → 6.
@pytest.mark.parametrize(
    ("channels", "size"), [(1, 1), (2, 1), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)]
)
def test_kernel_size(channels: int, size: int) -> None:
    assert kernel_size(channels) == size
    assert sum(p.numel() for p in ECA(channels).parameters()) == size


@pytest.mark.parametrize("channels", [1, 2, 16, 128])
@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
def test_gate_is_the_formula(channels: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module = ECA(channels).double()
    x = torch.randn(3, channels, *size, dtype=torch.float64)
    weight = module.conv.weight.detach().numpy()[0, 0]
    reach = len(weight) // 2
    squeezed = x.numpy().mean(axis=(2, 3))
    expected = np.empty((3, channels))
    for n in range(3):
        for c in range(channels):
            neighbours = range(c - reach, c + reach + 1)
            total = sum(w * squeezed[n, j] for w, j in zip(weight, neighbours, strict=True) if 0 <= j < channels)
            expected[n, c] = 1 / (1 + np.exp(-total))

    gate = module.gate(x)

    assert gate.shape == (3, channels, 1, 1)
    np.testing.assert_allclose(gate.detach().numpy()[:, :, 0, 0], expected, rtol=1e-12)
    torch.testing.assert_close(module(x), x * gate)
