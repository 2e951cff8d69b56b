import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stripe.analysis import channel_std
from stripe.errors import StripeError


def array(values) -> xr.DataArray:
    return xr.DataArray(np.asarray(values), dims=("image", "channel"))


def test_by_hand():
    # channel 0: mean 2, deviations -1, 0, 1; channel 1: mean 10, deviations -2, 4, -2
    std = channel_std(array([[1.0, 8.0], [2.0, 14.0], [3.0, 8.0]]))
    np.testing.assert_allclose(std, [np.sqrt(2 / 3), np.sqrt(8)])
    assert std.dims == ("channel",)


def test_relative_is_divided_by_the_size_of_the_mean():
    relative = channel_std(array([[-1.0, -1.0], [-3.0, 1.0]]), relative=True)
    np.testing.assert_allclose(relative, [0.5, np.nan])  # means -2 and 0


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-8, 8, width=32))
)
def test_equals_numpy_in_double_precision(values):
    std = channel_std(array(values))
    np.testing.assert_allclose(std, values.astype(np.float64).std(axis=0), atol=1e-12)


def test_what_never_varies_has_exactly_zero():
    assert (channel_std(array(np.full((1000, 3), 0.1, np.float32))) == 0).all()


def test_a_small_std_beside_a_large_mean_survives_single_precision(rng):
    values = (0.5 + 1e-4 * rng.standard_normal((5000, 4))).astype(np.float32)
    np.testing.assert_allclose(channel_std(array(values)), values.astype(np.float64).std(0), rtol=1e-9)


def test_half_precision_does_not_overflow_or_stall():
    values = np.full((4000, 1), 60000, np.float16)
    values[::2] = 59968  # half a step of 32 apart from the mean
    assert float(channel_std(array(values))[0]) == 16


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("image", [0, 1])
def test_a_value_that_is_not_finite_spoils_its_channel_alone(bad, image):
    values = np.array([[1.0, 1.0], [3.0, 3.0]])
    values[image, 0] = bad
    np.testing.assert_array_equal(channel_std(array(values)), [np.nan, 1.0])


def test_one_image():
    assert channel_std(array([[0.3, 0.7]])).values.tolist() == [0, 0]


def test_further_dimensions_keep_their_coordinates(rng):
    values = xr.DataArray(
        rng.random((2, 3, 4, 5)), dims=("epoch", "image", "branch", "channel"), coords={"epoch": [3, 7]}
    )
    std = channel_std(values)
    assert std.dims == ("epoch", "branch", "channel")
    assert std.epoch.values.tolist() == [3, 7]
    np.testing.assert_allclose(std, values.values.std(axis=1))


def test_stays_lazy(rng):
    values = xr.DataArray(rng.random((30, 4), np.float32), dims=("image", "channel"))
    std = channel_std(values.chunk(image=7))
    assert isinstance(std.data, da.Array)
    np.testing.assert_allclose(std, channel_std(values), rtol=1e-12)


def test_without_images():
    with pytest.raises(StripeError, match=r"needs the dimension 'image'.* n, channel"):
        channel_std(xr.DataArray(np.zeros((2, 3)), dims=("n", "channel")))
    with pytest.raises(StripeError, match="has none along the dimension 'image'"):
        channel_std(array(np.zeros((0, 3))))
