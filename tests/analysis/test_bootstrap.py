"""The one product against a loop over replicates, and how often the intervals hold the truth."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stripe.analysis import class_share, constant_error, output_error, stripe_index, stripes_carry, variance_shares
from stripe.analysis.bootstrap import NUMBERS, draw_counts, replicates

IMAGES, CHANNELS = 30, 12


@pytest.fixture
def values(rng) -> np.ndarray:
    noise = 0.2 * rng.standard_normal((IMAGES, CHANNELS))
    return rng.random(CHANNELS) + 0.1 * rng.standard_normal((IMAGES, 1)) + noise


@pytest.fixture
def size(rng) -> np.ndarray:
    return 1e3 * rng.random((IMAGES, CHANNELS))


def labelled(values) -> xr.DataArray:
    return xr.DataArray(values, dims=("image", "channel"))


def blocks(values, size):
    return [(values[:, :5], size[:, :5]), (values[:, 5:], size[:, 5:])]


@pytest.mark.parametrize("residual", [False, True])
def test_estimates_are_what_the_definitions_say(values, size, residual, rng):
    members = rng.integers(0, 3, IMAGES)
    found, negative = replicates(blocks(values, size), draw_counts(IMAGES, 10, 0), members, residual)
    assert found.keys() == set(NUMBERS)
    assert negative == []
    attention, rms = labelled(values), labelled(size)
    shares, gates, outputs = (
        variance_shares(attention),
        stripes_carry(attention),
        stripes_carry(attention, rms, residual),
    )
    expected = {
        "channel_share": shares["channel"],
        "image_share": shares["image"],
        "interaction_share": shares["interaction"],
        "class_share": class_share(attention, xr.DataArray(members, dims="image")),
        "stripe_index": stripe_index(attention),
        "constant_error": gates["vector"],
        "scalar_error": gates["scalar"],
        "output_error": outputs["vector"],
        "scalar_output_error": outputs["scalar"],
    }
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(float(value), rel=1e-5), name


def test_replicates_are_those_of_a_loop_over_drawn_images(values, size):
    counts = draw_counts(IMAGES, 20, 1)
    found, _ = replicates(blocks(values, size), counts)
    again = np.sqrt(IMAGES / (IMAGES - 1))  # a replicate's error is low by the same factor once more
    for row in range(1, 21):
        drawn = np.repeat(np.arange(IMAGES), counts[row].astype(int))
        attention, rms = labelled(values[drawn]), labelled(size[drawn])
        assert found["constant_error"][row] == pytest.approx(again * float(constant_error(attention)), rel=1e-4)
        assert found["output_error"][row] == pytest.approx(again * float(output_error(attention, rms)), rel=1e-4)
        assert found["scalar_error"][row] == pytest.approx(float(stripes_carry(attention)["scalar"]), rel=1e-4)
        scalar = float(stripes_carry(attention, rms)["scalar"])
        assert found["scalar_output_error"][row] == pytest.approx(scalar, rel=1e-4)


def test_replicates_lie_about_the_estimate(values, size, rng):
    found, _ = replicates(blocks(values, size), draw_counts(IMAGES, 4000, 0), rng.integers(0, 3, IMAGES))
    for name in ("channel_share", "image_share", "interaction_share", "stripe_index", "constant_error", "output_error"):
        own = found[name]
        assert own[1:].mean() == pytest.approx(own[0], abs=0.2 * own[1:].std()), name


def test_counts():
    counts = draw_counts(7, 500, 3)
    assert counts.shape == (501, 7)
    assert (counts[0] == 1).all()
    assert (counts.sum(axis=1) == 7).all()
    assert counts[1:].mean(axis=0) == pytest.approx(np.ones(7), abs=0.2)
    assert np.array_equal(counts, draw_counts(7, 500, 3))
    assert not np.array_equal(counts, draw_counts(7, 500, 4))


def test_what_never_varies_has_no_error_and_no_shares_but_that_of_the_channels():
    found, _ = replicates([(np.broadcast_to([0.1, 0.7], (9, 2)), np.ones((9, 2)))], draw_counts(9, 50, 0))
    assert not found["constant_error"].any()
    assert not found["output_error"].any()
    assert found["channel_share"] == pytest.approx(np.ones(51))
    same, _ = replicates([(np.full((9, 2), 0.1), None)], draw_counts(9, 50, 0))
    assert np.isnan(same["channel_share"]).all()
    assert np.isnan(same["stripe_index"]).all()


def test_negative_components_are_named():
    found, negative = replicates([(np.array([[0.0, 1.0], [1.0, 0.0]]), None)], draw_counts(2, 5, 0))
    assert negative == ["channel", "image"]
    assert (found["channel_share"][0], found["interaction_share"][0]) == (0, 1)


@pytest.mark.parametrize("shape", [(1, 4), (5, 0)])
def test_nothing_to_measure_is_nan(shape):
    found, _ = replicates([(np.zeros(shape), None)], draw_counts(shape[0], 5, 0))
    assert all(np.isnan(values).all() for values in found.values())


def test_intervals_hold_the_truth(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import coverage_of_intervals as simulation

    population = simulation.Population.drawn(12, spread=0.1, seed=1)
    for name, share in simulation.coverage(population, images=60, repetitions=400, resamples=300).items():
        assert 0.9 <= share <= 0.99, name
