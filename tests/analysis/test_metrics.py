import numpy as np
import pandas as pd
import pytest
import xarray as xr

from stripe.analysis import channel_std, epoch_diff, map_correlation, metrics, settled_fraction, stripe_index
from stripe.errors import StripeError


@pytest.fixture
def channels(rng, make_site) -> xr.Dataset:
    """Three epochs, 40 images, 6 channels: stripes with a little noise, moving less and less."""
    stripes = rng.random(6)
    moving = np.array([0.3, 0.002, 0.0])[:, None, None]
    values = stripes + moving + 0.01 * rng.standard_normal((1, 40, 6))
    return make_site(values.astype(np.float32), rng.standard_normal((3, 40, 6)).astype(np.float32))


def test_one_row_a_site_and_epoch_in_the_order_of_the_forward_pass(channels, make_site, make_capture):
    sites = {name: channels.assign_attrs(order=order) for order, name in enumerate(["b", "a", "a#2"])}
    table = metrics(make_capture(sites, epochs=[0.5, 2, 9]))
    assert table["site"].tolist() == ["b"] * 3 + ["a"] * 3 + ["a#2"] * 3
    assert table["epoch"].tolist() == [0.5, 2, 9] * 3
    assert table["learning_rate"].tolist() == [0.2, 0.05, 0.1 / 9] * 3
    assert not table.isna().all().drop(["map_correlation"]).any()
    assert table.attrs["tolerance"] == 0.01


def test_columns_are_what_the_definitions_say(channels, make_capture):
    table = metrics(make_capture({"se": channels}), tolerance=0.005)
    for prefix, values in (("", channels.attention), ("input_", channels.input)):
        std, relative = channel_std(values), channel_std(values, relative=True)
        np.testing.assert_allclose(table[f"{prefix}std_mean"], std.mean("channel"), rtol=1e-5)
        np.testing.assert_allclose(table[f"{prefix}std_median"], std.median("channel"), rtol=1e-5)
        np.testing.assert_allclose(table[f"{prefix}std_p95"], std.quantile(0.95, "channel"), rtol=1e-5)
        np.testing.assert_allclose(table[f"{prefix}std_max"], std.max("channel"), rtol=1e-5)
        np.testing.assert_allclose(table[f"{prefix}relative_std"], relative.median("channel"), rtol=1e-5)
    attention = channels.attention.astype(float)
    means = attention.mean("image")
    np.testing.assert_allclose(table["mean"], means.mean("channel"), rtol=1e-6)
    np.testing.assert_allclose(table["mean_min"], means.min("channel"), rtol=1e-6)
    np.testing.assert_allclose(table["mean_max"], means.max("channel"), rtol=1e-6)
    np.testing.assert_allclose(table["stripe_index"], stripe_index(attention), rtol=1e-5)
    error = np.sqrt(((attention - means) ** 2).sum(("image", "channel")) / (attention**2).sum(("image", "channel")))
    error *= np.sqrt(40 / 39)
    np.testing.assert_allclose(table["constant_error"], error, rtol=1e-5)
    diff = epoch_diff(attention)
    np.testing.assert_allclose(table["diff_mean"][1:], diff.mean(("image", "channel")), atol=1e-7)
    np.testing.assert_allclose(table["diff_p95"][1:], diff.mean("image").quantile(0.95, "channel"), atol=1e-7)
    np.testing.assert_allclose(table["diff_max"][1:], diff.max(("image", "channel")), atol=1e-7)
    assert table.loc[0, ["diff_mean", "diff_p95", "diff_max"]].isna().all()
    np.testing.assert_allclose(table["settled"], settled_fraction(channels.attention, 0.005))
    assert table["settled"].tolist() == [0, 1, 1]
    assert (table["images"].unique(), table["channels"].unique()) == (40, 6)


@pytest.mark.parametrize(
    ("kind", "shape", "dims"),
    [
        ("channel", (3,), None),
        ("channel", (1,), None),
        ("spatial", (4, 5), None),
        ("spatial", (7,), ("token",)),
        ("spatial", (2, 4, 5), ("depth", "height", "width")),
        ("strip", (3, 4), None),
        ("branch", (2, 3), None),
        ("sample", (), None),
        ("other", (2, 3), ("group", "axis2")),
    ],
)
@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("images", [1, 5])
def test_every_kind_of_site(kind, shape, dims, epochs, images, rng, make_site, make_capture):
    values = rng.random((epochs, images, *shape)).astype(np.float32)
    site = make_site(values, kind=kind, dims=dims)
    table = metrics(make_capture({"site": site}))
    flat = values.reshape(epochs, images, -1).astype(np.float64)
    np.testing.assert_allclose(table["std_mean"], flat.std(axis=1).mean(axis=1), rtol=1e-5, atol=1e-9)
    assert (table["channels"] == flat.shape[2]).all()
    if images > 1 and flat.shape[2] > 1:
        np.testing.assert_allclose(table["stripe_index"], flat.mean(1).var(1) / flat.var((1, 2)), rtol=1e-5)
    else:
        assert table["stripe_index"].isna().all()
    if kind == "spatial" and images > 1:
        np.testing.assert_allclose(table["map_correlation"], map_correlation(site.attention), rtol=1e-4)
    else:
        assert table["map_correlation"].isna().all()
    assert table["settled"].isna().all() == (epochs == 1)
    assert table["input_std_mean"].isna().all()


@pytest.mark.filterwarnings("error")
def test_channels_that_are_not_finite_are_counted_and_left_out(channels, make_capture):
    spoiled = channels.copy(deep=True)
    spoiled["attention"][1, 4, 0] = np.nan
    spoiled["attention"][1, 5, 0] = np.inf
    spoiled["input"][2, 0, 1] = np.nan
    table = metrics(make_capture({"se": spoiled}))
    rest = channels.isel(epoch=1, channel=slice(1, None))
    assert table["nonfinite"].tolist() == [0, 2, 0]
    assert table["input_nonfinite"].tolist() == [0, 0, 1]
    assert table["std_max"][1] == pytest.approx(float(channel_std(rest.attention).max()), rel=1e-5)
    assert table["stripe_index"][1] == pytest.approx(float(stripe_index(rest.attention)), rel=1e-5)
    assert table["diff_max"].notna().tolist() == [False, True, True]


@pytest.mark.filterwarnings("error")
def test_a_diverged_epoch_is_nan_throughout(channels, make_capture):
    spoiled = channels.copy(deep=True)
    spoiled["attention"][1] = np.nan
    table = metrics(make_capture({"se": spoiled}))
    columns = ["mean", "std_median", "std_p95", "frozen", "constant_error", "stripe_index", "diff_mean", "diff_max"]
    assert table.loc[1, columns].isna().all()
    assert table.loc[0, columns[:-2]].notna().all()
    assert table["nonfinite"][1] == 240


def test_a_gate_that_never_varies(make_site, make_capture):
    values = np.full((2, 5, 3), 0.1, np.float32)
    values[..., 0] = [0.2, 0.3, 0.2, 0.3, 0.2]
    table = metrics(make_capture({"partly": make_site(values), "wholly": make_site(values[..., 1:], order=1)}))
    assert table["frozen"].tolist() == [pytest.approx(2 / 3)] * 2 + [1, 1]
    assert table.loc[2:, "constant_error"].tolist() == [0, 0]
    assert table.loc[2:, "stripe_index"].isna().all()


def test_a_gate_of_zeros(make_site, make_capture):
    table = metrics(make_capture({"shut": make_site(np.zeros((1, 5, 3)))}))
    assert table.loc[0, ["mean", "frozen", "constant_error"]].tolist() == [0, 1, 0]
    assert np.isnan(table["relative_std"][0])


def test_patterns_choose_sites(channels, make_capture):
    capture = make_capture({"layer1.se": channels, "layer2.se": channels})
    assert metrics(capture, sites="layer2.*")["site"].unique() == ["layer2.se"]
    with pytest.raises(StripeError, match=r"No site of the capture fits 'layer3\.\*'.*layer1\.se, layer2\.se"):
        metrics(capture, sites="layer3.*")


def test_a_tree_without_sites():
    with pytest.raises(StripeError, match="no group 'sites'"):
        metrics(xr.DataTree(xr.Dataset({"a": 1})))


def test_epochs_that_were_never_written_are_left_out(channels, make_capture):
    table = metrics(make_capture({"se": channels}, complete=[1, 0, 1]))
    assert table["epoch"].tolist() == [1, 3]
    assert table["learning_rate"].tolist() == [0.1, 0.1 / 3]
    with pytest.raises(StripeError, match=r"site se .*'epoch'"):
        metrics(make_capture({"se": channels}, complete=[0, 0, 0]))


def test_a_file_opened_by_xarray_alone(channels, make_capture, tmp_path):
    capture = make_capture({"se": channels})
    capture.to_netcdf(tmp_path / "capture.h5", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "capture.h5", engine="h5netcdf") as opened:
        pd.testing.assert_frame_equal(metrics(opened), metrics(capture))
