import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stripe.analysis import epoch_diff, settled_fraction, settling_epoch
from stripe.errors import StripeError


def series(values, epochs=None) -> xr.DataArray:
    values = np.asarray(values)
    return xr.DataArray(values, dims="epoch", coords={"epoch": range(len(values)) if epochs is None else epochs})


def test_difference_by_hand():
    diff = epoch_diff(series([0.5, 0.25, 0.75], epochs=[10, 20, 50]))
    assert diff.epoch.values.tolist() == [20, 50]  # the later of the two
    assert diff.values.tolist() == [0.25, 0.5]


def test_half_precision_is_widened():
    diff = epoch_diff(series(np.array([0.0, 1.0], np.float16)))
    assert diff.dtype == np.float32
    assert epoch_diff(series(np.array([0.0, 1.0], np.float32))).dtype == np.float32


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.1, 0.105, 0.1], 3),  # never moves: from the first epoch on
        ([0.1, 0.5, 0.5, 0.505], 5),
        ([0.1, 0.5, 0.5, 0.9], np.nan),  # the last difference is too large
        ([0.1, 0.1, 0.9, 0.9], 7),  # rests, but moves again
        ([0.1, np.nan, 0.5, 0.5], 7),  # unknown is not settled
        ([0.1, 0.1, 0.1, np.nan], np.nan),
    ],
)
def test_settling_epoch_by_hand(values, expected):
    np.testing.assert_equal(float(settling_epoch(series(values, epochs=[3, 5, 7, 11]))), expected)


def test_a_distance_of_exactly_the_tolerance_is_settled():
    assert float(settling_epoch(series([0.0, 0.5, 0.25]), tolerance=0.25)) == 0
    assert np.isnan(settling_epoch(series([0.0, 0.5, 0.25]), tolerance=0.2))


def test_a_slow_drift_settles_only_where_it_comes_near_its_end():
    drift = series(np.arange(11) * 0.5)  # every difference is within a tolerance of 1
    assert float(settling_epoch(drift, tolerance=1.0)) == 8
    assert settled_fraction(drift, tolerance=1.0).values.tolist() == [0.0] * 8 + [1.0] * 3


def settling_by_loop(values: np.ndarray, tol: float) -> np.ndarray:
    found = np.full(values.shape[1], np.nan)
    for c in range(values.shape[1]):
        for epoch in range(len(values) - 1):
            if all(abs(values[-1, c] - values[t, c]) <= tol for t in range(epoch, len(values) - 1)):
                found[c] = epoch
                break
    return found


VALUES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 7), st.integers(1, 5)),
    elements=st.sampled_from([0.0, 0.005, 0.5, np.nan]),
)


@given(VALUES)
def test_settling_epoch_and_fraction_equal_a_plain_loop(values):
    attention = xr.DataArray(values, dims=("epoch", "channel"))
    expected = settling_by_loop(values, 0.01)
    np.testing.assert_array_equal(settling_epoch(attention), expected)
    fraction = settled_fraction(attention)
    np.testing.assert_allclose(fraction, [np.mean(expected <= epoch) for epoch in range(len(values))])
    assert (fraction.diff("epoch") >= 0).all()


def test_stays_lazy(rng):
    values = xr.DataArray(
        rng.random((4, 9, 3)).round(1), dims=("epoch", "image", "channel"), coords={"epoch": [1, 2, 4, 8]}
    )
    chunked = values.chunk(image=2)
    for function in (epoch_diff, settling_epoch, settled_fraction):
        found = function(chunked)
        assert isinstance(found.data, da.Array)
        np.testing.assert_allclose(found, function(values))
    assert settling_epoch(values).dims == ("image", "channel")
    assert settled_fraction(values).dims == ("epoch",)


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        (xr.DataArray(np.zeros(3), dims="image"), "needs the dimension 'epoch'"),
        (series([0.1]), "needs two epochs"),
        (series([0.1, 0.2, 0.3], epochs=[1, 3, 2]), "sortby"),
    ],
)
def test_what_cannot_be_compared_is_said(attention, message):
    for function in (epoch_diff, settling_epoch, settled_fraction):
        with pytest.raises(StripeError, match=message):
            function(attention)
