import subprocess
import sys
from pathlib import Path

import h5netcdf
import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stripe.capture import CaptureSession, Epoch, open_capture, site_names
from stripe.errors import StripeError
from stripe.gradcam import gradcam, save

ATTRS = {"model": "toy", "data": "random", "seed": 3, "classes": ["cat", "dog"]}


@pytest.fixture
def loader(images: Tensor) -> DataLoader:
    return DataLoader(TensorDataset(images, torch.arange(6)), batch_size=4)


@pytest.fixture
def averages(se_net: nn.Module, loader: DataLoader) -> xr.Dataset:
    return gradcam(se_net, loader, "att", maps=True)


@pytest.fixture
def capture(se_net: nn.Module, loader: DataLoader, tmp_path: Path) -> Path:
    path = tmp_path / "capture.h5"
    with CaptureSession(se_net, loader, path, epochs=[1, 2], attrs=ATTRS) as session:
        session.record(1)
        session.record(2)
    return path


def same(held: xr.Dataset, averages: xr.Dataset) -> bool:
    names = [name for name in averages.data_vars if name != "label"]
    return set(held.data_vars) == set(names) and all(
        held[name].dims == averages[name].dims and np.array_equal(held[name], averages[name]) for name in names
    )


def test_a_file_of_its_own(averages: xr.Dataset, tmp_path: Path) -> None:
    path = save(averages, tmp_path / "new.h5", attrs=ATTRS, epoch=Epoch(7, "best.pth", "abc"), paths=list("abcdef"))
    tree = open_capture(path)
    assert same(tree["gradcam/att"].to_dataset(), averages)
    assert site_names(tree) == []
    assert tree["label"].values.tolist() == [0, 1, 2, 3, 4, 5]
    assert "".join(tree["path"].values) == "abcdef"
    assert tree["epoch"].values.tolist() == [7]
    assert tree.attrs["model"] == "toy"
    about = tree["gradcam/att"].attrs
    assert (about["layer"], about["target"], about["count"], about["seed"]) == ("att", "predicted", 6, 3)
    assert (about["checkpoint"], about["digest"], about["epoch"]) == ("best.pth", "abc", 7)
    assert about["torch"] == torch.__version__.split("+")[0] or about["torch"] in torch.__version__
    assert [p.name for p in tmp_path.iterdir()] == ["new.h5"]


def test_other_programs_read_it(averages: xr.Dataset, tmp_path: Path) -> None:
    path = save(averages, tmp_path / "new.h5", attrs=ATTRS)
    for engine in ("h5netcdf", "netcdf4"):
        with xr.open_datatree(path, engine=engine) as tree:
            assert same(tree["gradcam/att"].to_dataset().load(), averages)
    with netCDF4.Dataset(path) as file:
        assert file["gradcam/att/mean"].dimensions == ("height", "width")
    with h5netcdf.File(path) as file:
        assert file["gradcam/att/mass"].dimensions == ("image",)


def test_into_a_capture_that_is_there(averages: xr.Dataset, capture: Path) -> None:
    before = open_capture(capture)
    attention = before["sites/att/attention"].values.copy()
    capture.chmod(0o640)
    save(averages, capture, attrs=ATTRS)
    tree = open_capture(capture)
    assert same(tree["gradcam/att"].to_dataset(), averages)
    np.testing.assert_array_equal(tree["sites/att/attention"], attention)
    np.testing.assert_array_equal(tree["thumbnail"], before["thumbnail"])
    assert capture.stat().st_mode & 0o777 == 0o640
    with xr.open_datatree(capture, engine="netcdf4") as other:
        assert same(other["gradcam/att"].to_dataset().load(), averages)


def test_a_layer_is_replaced_and_another_one_added(averages: xr.Dataset, capture: Path) -> None:
    save(averages, capture, attrs=ATTRS)
    size = capture.stat().st_size
    for _ in range(5):
        save(averages, capture, attrs=ATTRS)
    assert capture.stat().st_size < 1.5 * size  # what is replaced leaves no hole
    save(averages.assign(mean=averages["mean"] * 0), capture, attrs=ATTRS)
    save(averages.assign_attrs(layer="bn"), capture, attrs=ATTRS)
    with xr.open_datatree(capture, engine="h5netcdf") as tree:
        assert set(tree["gradcam"].children) == {"att", "bn"}
        assert not tree["gradcam/att/mean"].any()
        assert tree["gradcam/bn/mean"].any()


def test_more_epochs_keep_it(averages: xr.Dataset, capture: Path, se_net: nn.Module, loader: DataLoader) -> None:
    """A capture that grows is made anew."""
    save(averages, capture, attrs=ATTRS)
    with CaptureSession(se_net, loader, capture, epochs=[1, 2, 3], attrs=ATTRS) as session:
        assert session.completed == {1, 2}
        session.record(3)
    tree = open_capture(capture)
    assert tree["epoch"].values.tolist() == [1, 2, 3]
    assert same(tree["gradcam/att"].to_dataset(), averages)
    assert tree["gradcam/att"].attrs["layer"] == "att"
    for engine in ("h5netcdf", "netcdf4"):
        with xr.open_datatree(capture, engine=engine) as other:
            assert same(other["gradcam/att"].to_dataset().load(), averages)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attrs": {**ATTRS, "model": "other"}}, "its model is 'toy', not 'other'"),
        ({"attrs": {**ATTRS, "data": "photos"}}, "its data is 'random', not 'photos'"),
    ],
)
def test_a_capture_of_something_else(averages: xr.Dataset, capture: Path, change, message: str) -> None:
    before = capture.read_bytes()
    with pytest.raises(StripeError, match=message):
        save(averages, capture, **change)
    assert capture.read_bytes() == before
    assert [p.name for p in capture.parent.iterdir()] == ["capture.h5"]


def test_other_images(averages: xr.Dataset, capture: Path, tmp_path: Path) -> None:
    with pytest.raises(StripeError, match="holds 6 images, not 5"):
        save(averages.isel(image=slice(5)), capture)
    with pytest.raises(StripeError, match="holds other images"):
        save(averages.assign(label=averages["label"] + 1), capture)
    own = save(averages, tmp_path / "own.h5", paths=list("abcdef"))
    with pytest.raises(StripeError, match="holds other images"):
        save(averages, own, paths=list("abcdeg"))
    with pytest.raises(StripeError, match="holds other images"):
        save(averages.isel(x=slice(4)), capture)


def test_a_capture_that_is_being_written(averages: xr.Dataset, capture: Path) -> None:
    before = capture.read_bytes()
    holding = "import h5py, sys; file = h5py.File(sys.argv[1], 'r+'); print(); input()"
    command = [sys.executable, "-c", holding, str(capture)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(StripeError, match="being written by another process"):
            save(averages, capture, attrs=ATTRS)
        other.communicate(b"\n")
    assert capture.read_bytes() == before


def test_files_that_are_none(averages: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(StripeError, match="can't be opened as HDF5"):
        save(averages, tmp_path / "text.h5")
    with pytest.raises(StripeError, match="is a folder"):
        save(averages, tmp_path)
    with pytest.raises(StripeError, match="is no folder; make it first"):
        save(averages, tmp_path / "nowhere" / "a.h5")
    assert (tmp_path / "text.h5").read_text() == "not HDF5"


def test_a_capture_without_a_complete_epoch(averages, se_net, loader, tmp_path: Path) -> None:
    path = tmp_path / "begun.h5"
    with CaptureSession(se_net, loader, path, epochs=[1], attrs=ATTRS):
        pass
    with pytest.raises(StripeError, match="no complete epoch yet"):
        save(averages, path)


def test_a_full_disk_leaves_the_capture_as_it_was(averages, capture: Path, monkeypatch) -> None:
    before = capture.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stripe.capture.extend.shutil.copyfile", full)
    with pytest.raises(StripeError, match=r"Can't add to .*capture.h5, which is as it was: .*No space left"):
        save(averages, capture, attrs=ATTRS)
    assert capture.read_bytes() == before
    assert [p.name for p in capture.parent.iterdir()] == ["capture.h5"]
