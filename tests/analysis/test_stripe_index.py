import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stripe.analysis import stripe_index
from stripe.errors import StripeError


def index(values) -> float:
    return float(stripe_index(xr.DataArray(np.asarray(values), dims=("image", "channel"))))


def test_by_hand():
    # channel means 1 and 3: variance 1. All values 0, 2, 2, 4: mean 2, variance 2.
    assert index([[0.0, 2.0], [2.0, 4.0]]) == 0.5


def test_perfect_stripes():
    assert index([[0.1, 0.9, 0.3]] * 4) == 1


def test_no_stripes():
    assert index([[0.1, 0.9], [0.9, 0.1]]) == 0


@pytest.mark.parametrize("values", [np.full((7, 3), np.float32(0.1)), [[0.1, 0.9]], [[0.1], [0.2]]])
def test_undefined_without_anything_to_compare(values):
    assert np.isnan(index(values))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_undefined_with_values_that_are_not_finite(bad):
    assert np.isnan(index([[0.1, bad], [0.2, 0.3], [0.3, 0.3]]))


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6),
        elements=st.floats(-4, 4).map(lambda x: round(x, 3)),
    )
)
def test_is_the_share_of_variance_of_the_definition(values):
    found = index(values)
    if values.min() == values.max():
        assert np.isnan(found)
    else:
        np.testing.assert_allclose(found, values.mean(axis=0).var() / values.var(), atol=1e-9)
        assert 0 <= found <= 1


def test_survives_single_precision(rng):
    values = (0.5 + 1e-4 * rng.standard_normal(8) + 1e-4 * rng.standard_normal((3000, 8))).astype(np.float32)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(index(values), exact.mean(axis=0).var() / exact.var(), rtol=1e-8)


def test_epochs_are_kept_and_everything_else_is_a_channel(rng):
    values = xr.DataArray(rng.random((2, 5, 3, 4)), dims=("epoch", "image", "branch", "channel"))
    found = stripe_index(values)
    flat = values.values.reshape(2, 5, 12)
    assert found.dims == ("epoch",)
    np.testing.assert_allclose(found, flat.mean(axis=1).var(axis=1) / flat.var(axis=(1, 2)))


def test_one_value_an_image():
    assert np.isnan(stripe_index(xr.DataArray([0.1, 0.2], dims="image")))


def test_stays_lazy(rng):
    values = xr.DataArray(rng.random((2, 30, 4)), dims=("epoch", "image", "channel"))
    found = stripe_index(values.chunk(image=7, epoch=1))
    assert isinstance(found.data, da.Array)
    np.testing.assert_allclose(found, stripe_index(values))


def test_without_images():
    with pytest.raises(StripeError, match="'image'"):
        stripe_index(xr.DataArray(np.zeros((2, 3)), dims=("epoch", "channel")))
