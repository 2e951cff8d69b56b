import numpy as np
import torch

from stripe.moments import Moments


def test_moments_stay_exact_far_from_zero() -> None:
    values = 1000 + np.random.default_rng(0).normal(size=(50, 3))
    moments = Moments((3,), torch.device("cpu"))
    for part in np.split(values, [1, 7, 30]):
        moments.add(torch.from_numpy(part))
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(moments.std, values.std(0), rtol=1e-3)


def test_moments_by_hand_in_double_precision() -> None:
    """1, 2 and 6: mean 3, variance (4 + 1 + 9) / 3."""
    moments = Moments((), torch.device("cpu"), torch.float64)
    for part in ([1.0], [2.0, 6.0]):
        moments.add(torch.tensor(part, dtype=torch.float64))
    assert moments.count == 3
    assert moments.mean.dtype == torch.float64
    assert float(moments.mean) == 3
    np.testing.assert_allclose(moments.variance, 14 / 3, rtol=1e-15)
    np.testing.assert_allclose(moments.std, (14 / 3) ** 0.5, rtol=1e-15)
