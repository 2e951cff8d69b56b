import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stripe.analysis import map_correlation, spatial_std
from stripe.errors import StripeError


def tokens(values) -> xr.DataArray:
    return xr.DataArray(np.asarray(values), dims=("image", "token"))


def mean_of_pairs(maps: np.ndarray) -> float:
    """From numpy's correlation matrix."""
    matrix = np.corrcoef(maps)
    return float(matrix[np.triu_indices(len(maps), 1)].mean())


def test_spatial_std_is_one_number_a_position():
    maps = xr.DataArray(np.zeros((2, 3, 4)), dims=("image", "height", "width"))
    maps[1, 0, 0] = 2
    std = spatial_std(maps)
    assert std.dims == ("height", "width")
    assert std.sum() == std[0, 0] == 1


def test_correlation_by_hand():
    # r = 1 between the first two, -1 between each of them and the third
    assert float(map_correlation(tokens([[1.0, 2.0], [5.0, 9.0], [2.0, 1.0]]))) == pytest.approx(-1 / 3)


def test_correlation_equals_numpy(rng):
    common = rng.random((1, 5, 6))
    maps = (common + rng.random((12, 5, 6))).astype(np.float32)
    found = map_correlation(xr.DataArray(maps, dims=("image", "height", "width")))
    np.testing.assert_allclose(found, mean_of_pairs(maps.reshape(12, -1).astype(np.float64)), rtol=1e-6)


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 6), st.integers(3, 8)),
        elements=st.floats(0, 1).map(lambda x: round(x, 2)),
    ).filter(lambda maps: (np.ptp(maps, axis=1) > 0).all())
)
def test_correlation_is_the_mean_over_all_pairs(maps):
    np.testing.assert_allclose(map_correlation(tokens(maps)), mean_of_pairs(maps), atol=1e-9)


def test_maps_without_a_correlation_are_left_out(rng):
    maps = rng.random((6, 9))
    expected = mean_of_pairs(maps[[0, 2, 5]])
    maps[1] = 0.1  # 0.1 has no exact mean: a careless variance would not be 0
    maps[3, 2] = np.nan
    maps[4, 0] = np.inf
    np.testing.assert_allclose(map_correlation(tokens(maps)), expected)


@pytest.mark.parametrize("maps", [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 3.0]], [[0.5, 0.5], [0.5, 0.5]]])
def test_undefined_without_a_pair(maps):
    assert np.isnan(map_correlation(tokens(maps)))


def test_other_dimensions_are_kept(rng):
    values = rng.random((2, 4, 3, 7))
    found = map_correlation(xr.DataArray(values, dims=("epoch", "image", "channel", "height")))
    assert found.dims == ("epoch", "channel")
    np.testing.assert_allclose(found[1, 2], mean_of_pairs(values[1, :, 2]))


def test_stays_lazy(rng):
    maps = tokens(rng.random((20, 9), np.float32))
    found = map_correlation(maps.chunk(image=6))
    assert isinstance(found.data, da.Array)
    np.testing.assert_allclose(found, map_correlation(maps))


@pytest.mark.parametrize("function", [spatial_std, map_correlation])
def test_channel_attention_is_no_map(function):
    with pytest.raises(StripeError, match=r"needs attention maps.*channel_std"):
        function(xr.DataArray(np.zeros((2, 3)), dims=("image", "channel")))
