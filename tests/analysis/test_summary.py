"""The one-pass summary against numpy in double precision and against the definitions."""

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stripe.analysis import map_correlation, settled_fraction
from stripe.analysis import summary as module
from stripe.analysis.summary import summarize, summarize_block

DIMS = ("epoch", "image", "channel")


class Counted:
    """An array that counts how often each of its images is read, at all epochs together."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.reads = values, np.zeros(values.shape[:2], int)
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, key):
        self.reads[key[:2]] += 1
        return self.values[key]


def compute(values, **options):
    return dask.compute(summarize(xr.DataArray(values, dims=DIMS), **options))[0]


SMALL = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 4)),
    elements=st.sampled_from([0.1, 0.105, 0.3, 0.9, 1.0]),
)


@settings(deadline=None)
@given(SMALL, st.integers(1, 9), st.integers(1, 30))
def test_equals_numpy_however_it_is_cut(values, chunk, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_VALUES", block)
        patch.setattr(module, "MERGE_WIDTH", 2)
        found = compute(da.from_array(values, (-1, chunk, -1)), tolerance=0.01)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(found.moments.mean, exact.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(found.moments.variance), exact.std(axis=1), atol=1e-6)
    assert (found.moments.count == values.shape[1]).all()
    diff = np.abs(np.diff(exact, axis=0))
    np.testing.assert_allclose(found.movement.total[1:], diff.sum(axis=1), atol=1e-5)
    np.testing.assert_allclose(found.movement.largest[1:], diff.max(axis=1), atol=1e-6)
    if len(values) > 1:
        settled = settled_fraction(xr.DataArray(values, dims=DIMS))[:-1] * values[0].size
        np.testing.assert_allclose(found.movement.settled[:-1], settled)


@pytest.mark.parametrize("outlier", [None, 1.0])
def test_a_small_std_beside_a_large_mean_survives_single_precision(rng, outlier):
    values = (0.5 + 1e-4 * rng.standard_normal((1, 5000, 64))).astype(np.float32)
    if outlier is not None:
        values[:, ::700] = outlier  # the first of each chunk is far away from all others
    variance = compute(da.from_array(values, (1, 700, -1))).moments.variance
    np.testing.assert_allclose(np.sqrt(variance), values.astype(np.float64).std(axis=1), rtol=1e-4)


def test_what_never_varies_has_exactly_zero():
    found = compute(da.full((2, 3000, 5), 0.1, dtype=np.float32, chunks=(2, 900, 5)))
    assert (found.moments.variance == 0).all()


def test_half_precision_is_widened(rng):
    values = rng.random((2, 3000, 4)).astype(np.float16) * np.float16(1000)
    found = compute(values, tolerance=0.01)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(np.sqrt(found.moments.variance), exact.std(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.movement.total[1], np.abs(np.diff(exact, axis=0))[0].sum(axis=0), rtol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("image", [0, 3, 5])
def test_a_value_that_is_not_finite_spoils_its_channel_and_epoch_alone(rng, bad, image):
    values = rng.random((3, 6, 2)).astype(np.float32)
    values[1, image, 0] = bad
    found = compute(da.from_array(values, (3, 2, 2)), tolerance=2)
    spoiled = ~np.isfinite(found.moments.variance)
    assert spoiled.tolist() == [[False, False], [True, False], [False, False]]
    assert np.isfinite(found.moments.mean).sum() == 5
    assert found.moments.nonfinite.tolist() == [0, 1, 0]
    assert np.isfinite(found.movement.total).tolist() == [[True, True], [False, True], [False, True]]
    assert found.movement.settled[0] == 11  # an unknown difference is not within the tolerance


def test_every_value_is_read_once(rng):
    source = Counted(rng.random((3, 20, 4), np.float32))
    values = da.from_array(source, (3, 6, 4), asarray=False, name=False)
    compute(values, tolerance=0.01)
    assert (source.reads == 1).all()


def test_epochs_and_channels_are_brought_into_one_chunk(rng):
    values = rng.random((3, 8, 4))
    found = compute(da.from_array(values, (1, 3, 2)), tolerance=0.01)
    np.testing.assert_allclose(found.movement.total[1:], np.abs(np.diff(values, axis=0)).sum(axis=1))


def test_arrays_in_memory_are_cut_by_image(rng, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 3 * 2 * 4 * 8)  # three images
    calls = []
    monkeypatch.setattr(
        module, "summarize_block", lambda part, *rest: calls.append(part.shape) or summarize_block(part, *rest)
    )
    values = xr.DataArray(rng.random((8, 2, 4)), dims=("image", "epoch", "channel"))
    found = dask.compute(summarize(values))[0]
    assert sorted(calls) == [(2, 2, 4), (2, 3, 4), (2, 3, 4)]
    np.testing.assert_allclose(found.moments.mean, values.mean("image"))


def test_maps_correlate_as_defined(rng):
    maps = (rng.random((1, 1, 5, 6)) + rng.random((2, 30, 5, 6))).astype(np.float32)
    maps[0, 3] = 0.1
    maps[1, 4, 0, 0] = np.nan
    array = xr.DataArray(maps, dims=("epoch", "image", "height", "width"))
    found = dask.compute(summarize(array.chunk(image=7), maps=True))[0]
    np.testing.assert_allclose(found.agreement.correlation, map_correlation(array), rtol=1e-5)
    assert found.agreement.count.tolist() == [29, 29]


def test_no_pair_of_maps():
    array = xr.DataArray(np.full((1, 3, 4), 0.5), dims=("epoch", "image", "token"))
    assert np.isnan(dask.compute(summarize(array, maps=True))[0].agreement.correlation).all()
