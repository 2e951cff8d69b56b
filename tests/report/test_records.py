import numpy as np
import pytest
import xarray as xr

from stripe.report.budget import Cut, Plan, SiteShape
from stripe.report.records import gradcam_records, shape_of, site_record
from tests.report.conftest import decode, site, tree

RNG = np.random.default_rng(1)


def whole(epochs):
    return Plan(np.arange(epochs), 1, (Cut(),), 16)


def test_a_site_in_full():
    attention, before = RNG.random((3, 5, 4)), RNG.normal(size=(3, 5, 4))
    record = site_record(site(attention, before=before), whole(3), Cut(), 0.01)
    np.testing.assert_allclose(decode(record["attention"]), attention, atol=1e-5)
    np.testing.assert_allclose(decode(record["std"]), attention.std(axis=1), atol=1e-5)
    np.testing.assert_allclose(decode(record["input_std"]), before.std(axis=1), atol=1e-4)
    np.testing.assert_allclose(decode(record["diff"])[0], np.abs(np.diff(attention, axis=0)).mean(axis=1), atol=1e-5)
    assert record["limits"] == pytest.approx(np.quantile(attention, [0.01, 0.99]), abs=1e-6)
    assert record["columns"] == "channel"
    assert (record["size"], record["features"]) == ([4], [4])


def test_thinned_images_are_left_out_and_channels_averaged():
    attention = np.arange(3 * 5 * 4, dtype=float).reshape(3, 5, 4) ** 2
    found = Plan(np.array([0, 2]), 2, (Cut(),), 16)
    record = site_record(site(attention), found, Cut(step=2, group=3), 0.01)
    rows = attention[[0, 2]][:, [0, 2, 4]]
    expected = np.stack([rows[..., :3].mean(-1), rows[..., 3]], -1)
    np.testing.assert_allclose(decode(record["attention"]), expected, rtol=1e-3, atol=0.1)
    std = attention.std(axis=1)[[0, 2]]  # of all five images
    np.testing.assert_allclose(decode(record["std"]), np.stack([std[:, :3].mean(1), std[:, 3]], 1), rtol=1e-3)
    difference = np.abs(np.diff(attention, axis=0)).mean(axis=1).mean(axis=0)  # the two differences, averaged
    assert decode(record["diff"])[0].tolist() == [pytest.approx([difference[:3].mean(), difference[3]], rel=1e-3)]
    assert record["features"] == [2]


def test_maps_are_averaged_in_squares():
    attention = RNG.random((1, 2, 3, 4))
    data = site(attention, dims=("height", "width"), kind="spatial")
    assert shape_of(data) == SiteShape(2, (3, 4))
    record = site_record(data, whole(1), Cut(group=2), 0.01)
    assert record["features"] == [2, 2]
    shown = decode(record["attention"]).reshape(2, 2, 2)
    np.testing.assert_allclose(shown[1, 0, 1], attention[0, 1, :2, 2:].mean(), atol=1e-5)
    np.testing.assert_allclose(shown[1, 1, 0], attention[0, 1, 2:, :2].mean(), atol=1e-5)
    np.testing.assert_allclose(decode(record["mean"])[0, 0], attention[0].mean(0)[:2, :2].mean(), atol=1e-5)


def test_branches_are_laid_out_as_channels():
    attention = RNG.random((1, 3, 2, 4))
    data = site(attention, dims=("branch", "channel"), kind="branch")
    assert shape_of(data) == SiteShape(3, (8,))
    record = site_record(data, whole(1), Cut(), 0.01)
    assert record["columns"] == "branch × channel"
    np.testing.assert_allclose(decode(record["attention"]), attention.reshape(1, 3, 8), atol=1e-5)


def test_a_gate_on_the_whole_image_has_one_column():
    record = site_record(site(RNG.random((2, 3)), dims=(), kind="sample"), whole(2), Cut(), 0.01)
    assert record["attention"]["shape"] == [2, 3, 1]


def test_a_single_epoch_has_no_difference():
    assert site_record(site(RNG.random((1, 3, 4))), whole(1), Cut(), 0.01)["diff"] is None


def test_nan_stays_where_it_is():
    attention = RNG.random((2, 3, 4))
    attention[1, 2, 3] = np.nan
    record = site_record(site(attention), whole(2), Cut(), 0.01)
    assert np.argwhere(np.isnan(decode(record["attention"]))).tolist() == [[1, 2, 3]]
    assert np.argwhere(np.isnan(decode(record["std"]))).tolist() == [[1, 3]]
    assert np.isfinite(record["limits"]).all()


def maps(**values):
    return xr.Dataset(
        {name: (("height", "width"), value) for name, value in values.items()},
        attrs={"count": 500, "target": "predicted"},
    )


def test_a_capture_without_any(small):
    assert gradcam_records(tree({"a": small["sites/layer1.0.se"].to_dataset()})) == []


def test_mean_and_std_of_every_layer():
    mean, std = np.random.default_rng(0).random((2, 7, 5))
    first, second = gradcam_records(tree({}, {"layer3": maps(mean=mean, std=std), "layer4": maps(mean=mean)}))
    assert (first["layer"], first["images"], first["size"], first["group"]) == ("layer3", 500, [7, 5], 1)
    np.testing.assert_allclose(decode(first["mean"])[0], mean, atol=1e-5)
    np.testing.assert_allclose(decode(first["std"])[0], std, atol=1e-5)
    assert "std" not in second


def test_large_maps_are_averaged_in_squares():
    mean = np.random.default_rng(0).random((224, 224))
    (record,) = gradcam_records(tree({}, {"layer4": maps(mean=mean)}))
    assert record["group"] == 2
    assert record["mean"]["shape"] == [1, 112, 112]
    np.testing.assert_allclose(decode(record["mean"])[0, 1, 0], mean[2:4, :2].mean(), atol=1e-5)


def test_a_group_that_holds_no_map():
    assert gradcam_records(tree({}, {"layer4": xr.Dataset({"mean": ("image", [1.0])})})) == []
