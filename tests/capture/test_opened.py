"""Attributes and values of an open capture, in whatever way it was opened."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

from stripe import gradcam
from stripe.analysis import metrics
from stripe.capture import CaptureSession, as_capture, open_capture, site_names
from stripe.errors import StripeError

ATTRS = {
    "model": "tiny",
    "attention": "se",
    "data": "folder:/home/somebody/photos",
    "split": "test",
    "scale": "two epochs",
    "weights": "random (seed 3)",
    "seed": 3,
    "classes": ["cat", "dog"],
}


@pytest.fixture
def path(se_net, images, tmp_path):
    """Epochs 1 and 2 of three that were asked for, and Grad-CAM maps."""
    found = tmp_path / "run.h5"
    loader = DataLoader(TensorDataset(images, torch.arange(6) % 2), batch_size=6)
    with CaptureSession(se_net, loader, found, epochs=[1, 2, 3], attrs=ATTRS) as session:
        for epoch in (1, 2):
            session.record(epoch, learning_rate=0.1 / epoch)
    gradcam.save(gradcam.gradcam(se_net, loader, "conv"), found, attrs={**ATTRS, "weights": "trained"})
    return found


@pytest.fixture(params=["path", "text", "open_capture", "xarray", "capture"])
def given(request, path):
    """The same capture, in each of the forms that functions take."""
    ways = {
        "path": lambda: path,
        "text": lambda: str(path),
        "open_capture": lambda: open_capture(path),
        "xarray": lambda: xr.open_datatree(path, engine="h5netcdf"),
        "capture": lambda: as_capture(path),
    }
    return ways[request.param]()


def test_every_form_says_the_same(given, path):
    capture = as_capture(given)
    assert capture.path == str(path)
    assert capture.network == ["tiny", "se"]
    assert (capture.model, capture.attention) == ("tiny", "se")
    assert (capture.data, capture.split, capture.scale) == ("folder:/home/somebody/photos", "test", "two epochs")
    assert (capture.seed, capture.classes, capture.has_random_weights) == (3, ["cat", "dog"], True)
    assert capture.epochs.tolist() == [1, 2]
    np.testing.assert_allclose(capture.learning_rate, [0.1, 0.05])
    assert capture.images.tolist() == list(range(6))
    assert capture.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert list(capture.sites) == list(capture.facts) == site_names(given) == site_names(given, "channel") == ["att"]
    assert capture.sites["att"].sizes["epoch"] == 2
    facts = capture.facts["att"]
    assert (facts.kind, facts.order, facts.input_dependent) == ("channel", 0, True)
    assert facts.map_shape[0] == capture.sites["att"].sizes["channel"]
    assert list(capture.gradcam) == list(capture.layers) == ["conv"]
    layer = capture.layers["conv"]
    assert (layer.layer, layer.target, layer.count, layer.epoch) == ("conv", "predicted", 6, 0)
    assert (layer.weights, layer.has_random_weights) == ("trained", False)
    picture = capture.thumbnail(2)
    assert picture is not None
    assert (picture.dtype, picture.shape[-1]) == (np.uint8, 3)


def test_analysis_takes_every_form(given):
    table = metrics(given)
    assert table["epoch"].tolist() == [1, 2]
    assert table["learning_rate"].tolist() == [0.1, 0.05]


def test_an_open_capture_is_itself(path):
    capture = as_capture(path)
    assert as_capture(capture) is capture


def test_a_capture_that_says_nothing():
    root = xr.Dataset({"label": ("image", [-1, 0])}, coords={"epoch": [1], "image": [0, 1]})
    capture = as_capture(xr.DataTree(root))
    assert capture.path == capture.model == capture.data == capture.scale == capture.weights == ""
    assert capture.network == capture.classes == []
    assert capture.seed is None
    assert not capture.has_random_weights
    assert capture.sites == capture.facts == capture.gradcam == capture.layers == {}
    assert capture.thumbnail(0) is None


@pytest.mark.parametrize("classes", ["no JSON", '{"a": 1}', "3"])
def test_classes_that_are_no_list_are_none(classes):
    assert as_capture(xr.DataTree(xr.Dataset(attrs={"classes": classes, "seed": "x"}))).classes == []


def test_what_is_no_capture(tmp_path):
    with pytest.raises(StripeError, match="not a list"):
        as_capture([1])  # type: ignore[arg-type]
    with pytest.raises(StripeError, match="no file"):
        as_capture(tmp_path / "missing.h5")


def test_what_reads_a_capture_imports_no_torch():
    code = "import sys; import stripe.capture, stripe.plots; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_printed_in_a_line(path):
    said = repr(as_capture(path))
    assert said.startswith(f"Capture('{path}', ")
    assert said.endswith("1 site, 2 epochs × 6 images)")
