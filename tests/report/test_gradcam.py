import numpy as np
import xarray as xr

from stripe.report.gradcam import gradcam_records
from tests.report.conftest import decode, tree


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
