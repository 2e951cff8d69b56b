import sys

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from stripe.analysis import constant_error, evidence, metrics, output_error, stripe_index, variance_shares
from stripe.analysis.bootstrap import NUMBERS
from stripe.analysis.evidence import beside
from stripe.errors import StripeError


@pytest.fixture
def channels(rng, make_site) -> xr.Dataset:
    """Two epochs, 40 images, 6 channels."""
    values = rng.random(6) + 0.1 * rng.standard_normal((2, 40, 6))
    return make_site(values.astype(np.float32), rng.random((2, 40, 6)), rng.random((2, 40, 6)).astype(np.float32))


def test_a_row_for_each_site_at_the_last_epoch(channels, make_capture):
    table = evidence(make_capture({"b": channels, "a": channels.assign_attrs(order=1)}), resamples=50)
    assert table["site"].tolist() == ["b", "a"]
    assert table["epoch"].tolist() == [2, 2]
    assert (table["images"].tolist(), table["channels"].tolist()) == ([40, 40], [6, 6])
    assert table.attrs == {"level": 0.95, "resamples": 50, "seed": 0}
    last = channels.isel(epoch=-1)
    row = table.iloc[0]
    assert row["channel_share"] == pytest.approx(float(variance_shares(last.attention)["channel"]), rel=1e-5)
    assert row["stripe_index"] == pytest.approx(float(stripe_index(last.attention)), rel=1e-5)
    assert row["constant_error"] == pytest.approx(float(constant_error(last.attention)), rel=1e-5)
    assert row["output_error"] == pytest.approx(float(output_error(last.attention, last.input_rms)), rel=1e-5)
    for name in set(NUMBERS) - {"class_share"}:
        assert row[f"{name}_low"] <= row[f"{name}_high"]
    assert row["input_varies"]
    assert table["class_share"].isna().all()


def test_agrees_with_the_metrics_of_the_same_epoch(channels, make_capture):
    capture = make_capture({"se": channels})
    row, measured = evidence(capture, epoch=1, resamples=5).iloc[0], metrics(capture).iloc[0]
    assert row["epoch"] == measured["epoch"] == 1
    for name in ("constant_error", "stripe_index"):
        assert row[name] == pytest.approx(measured[name], rel=1e-5)


def test_seeded(channels, make_capture):
    capture = make_capture({"se": channels})
    once, again, other = (evidence(capture, resamples=50, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(once, again)
    assert once["output_error_low"][0] != other["output_error_low"][0]


def test_wide_sites_are_read_in_blocks(rng, make_site, make_capture, monkeypatch):
    values, size = rng.random((1, 10, 3, 7)), rng.random((1, 10, 3, 7))
    site = make_site(values, size=size, kind="spatial")
    whole = evidence(make_capture({"map": site}), resamples=30)
    monkeypatch.setattr(sys.modules["stripe.analysis.evidence"], "BLOCK_COLUMNS", 4)
    lazy = site.chunk(image=3)
    assert isinstance(lazy.attention.data, da.Array)
    blocks = evidence(make_capture({"map": lazy}), resamples=30)
    pd.testing.assert_frame_equal(whole, blocks, rtol=1e-4)
    assert whole["channels"][0] == 21


def test_a_capture_of_the_first_release_has_no_output_error(channels, make_capture):
    row = evidence(make_capture({"se": channels.drop_vars("input_rms")}), resamples=20).iloc[0]
    assert np.isnan([row[f"output_error{end}"] for end in ("", "_low", "_high")]).all()
    assert np.isfinite(row["constant_error_high"])
    bare = evidence(make_capture({"se": channels[["attention"]]}), resamples=20).iloc[0]
    assert bare["input_varies"] is None


@pytest.mark.parametrize("size", [np.zeros((1, 30, 2)), np.full((1, 30, 2), 0.3)])
def test_a_map_that_does_not_vary_is_noticed(size, make_site, make_capture):
    gate = np.full((1, 30, 2), 0.5)
    row = evidence(make_capture({"se": make_site(gate, size, size)}), resamples=20).iloc[0]
    assert not row["input_varies"]
    assert np.isnan(row["output_error"]) == (size.max() == 0)


def test_residual_gates_count_as_one_plus_v(channels, make_capture):
    capture = make_capture({"plain": channels, "added": channels.assign_attrs(residual=1, order=1)})
    plain, added = evidence(capture, resamples=20)["output_error"]
    last = channels.isel(epoch=-1)
    assert added == pytest.approx(float(output_error(last.attention, last.input_rms, residual=True)), rel=1e-5)
    assert added < plain


def test_classes_that_the_gate_knows(rng, make_site, make_capture):
    labels = np.arange(60) % 3
    gate = rng.random((3, 5))[labels] + 0.01 * rng.standard_normal((1, 60, 5))
    row = evidence(make_capture({"se": make_site(gate)}, labels=labels), resamples=50).iloc[0]
    assert 0.98 < row["class_share_low"] <= row["class_share"] <= row["class_share_high"] <= 1
    unknown = evidence(make_capture({"se": make_site(gate)}, labels=labels - 1), resamples=50).iloc[0]
    assert np.isnan(unknown["class_share"])


@pytest.mark.filterwarnings("error")
def test_channels_that_are_not_finite_are_left_out(channels, make_capture):
    spoiled = channels.copy(deep=True)
    spoiled["attention"][1, 3, 0] = np.nan
    spoiled["input_rms"][1, 5, 2] = np.inf
    row = evidence(make_capture({"se": spoiled}), resamples=20).iloc[0]
    assert row["channels"] == 4
    rest = channels.isel(epoch=1, channel=[1, 3, 4, 5])
    assert row["output_error"] == pytest.approx(float(output_error(rest.attention, rest.input_rms)), rel=1e-5)
    spoiled["attention"][1] = np.nan
    assert np.isnan(evidence(make_capture({"se": spoiled}), resamples=20)["constant_error"][0])


@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 5, 1), (1, 5)])
@pytest.mark.filterwarnings("error")
def test_one_image_or_one_channel(shape, rng, make_site, make_capture):
    kind = "channel" if len(shape) == 3 else "sample"
    row = evidence(make_capture({"se": make_site(rng.random(shape), kind=kind)}), resamples=20).iloc[0]
    assert np.isnan(row["channel_share"])
    assert np.isnan(row["constant_error"]) == (shape[1] == 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1.0}, "level="),
        ({"resamples": 0}, "resamples="),
        ({"epoch": 7}, "does not hold epoch 7"),
        ({"sites": "x"}, "No site"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message, channels, make_capture):
    with pytest.raises(StripeError, match=message):
        evidence(make_capture({"se": channels}), **options)


def test_beside_the_metrics_of_every_epoch(channels, make_capture):
    capture = make_capture({"se": channels})
    table, measured = metrics(capture), evidence(capture, resamples=20)
    both = beside(table, measured)
    pd.testing.assert_frame_equal(both[table.columns], table)
    assert both["output_error"].isna().tolist() == [True, False]
    assert both.attrs == {**measured.attrs, "tolerance": 0.01}
