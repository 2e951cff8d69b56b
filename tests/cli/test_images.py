"""Choice, channels and normalisation of the images in the commands."""

import io
import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from stripe import asr, checkpoint, models
from stripe.capture import open_capture
from stripe.cli import main

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=10, channels=3):
        super().__init__()
        self.conv, self.gate, self.fc = nn.Conv2d(channels, 4, 3), nn.Linear(4, 4), nn.Linear(4, num_classes)

    def forward(self, x):
        self.seen = x
        x = self.conv(x)
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        return self.fc(x.mean((2, 3)))

def make(num_classes=10, channels=3):
    torch.manual_seed(0)
    return Net(num_classes, channels)
"""
COLOUR = ["--model", "python:tiny:make", "--image-size", "16"]
GREY = [*COLOUR, "--model-arg", "channels=1"]
OFFICIAL = ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
HALF = ([0.5] * 3, [0.5] * 3)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tiny", raising=False)


def photos(path: Path, folders: dict[str, int]) -> None:
    noise = np.random.default_rng(0)
    for name, count in folders.items():
        (path / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.fromarray(noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path / name / f"{index}.png")


@pytest.mark.parametrize("folders", [{".": 7}, {"cat": 7}])
def test_images_without_classes(run, tmp_path: Path, folders: dict[str, int]) -> None:
    photos(tmp_path / "set", folders)
    result = run("capture", "-o", "capture.h5", *COLOUR, "--data", "folder:set")
    assert "1 epoch × 7 images" in result.stdout
    tree = open_capture("capture.h5")
    assert tree["label"].values.tolist() == [-1] * 7
    assert tree.attrs["split"] == "all"
    run("gradcam", *COLOUR, "--data", "folder:set", "-o", "capture.h5")
    assert "--target" not in run("gradcam", *COLOUR, "--data", "folder:set").stderr
    assert open_capture("gradcam.h5").sizes["image"] == 7


def test_what_needs_labels_says_so(run, tmp_path: Path) -> None:
    photos(tmp_path / "set", {".": 7})
    checkpoint.save("ours.safetensors", models.build("resnet11"), {"model": "resnet11", "num_classes": 10})
    for arguments in (
        ["train", "--model", "resnet11", "--out", "run"],
        ["evaluate", "--ckpt", "ours.safetensors"],
        ["gradcam", *COLOUR, "--target", "label"],
    ):
        error = run(*arguments, "--data", "folder:set", code=1).stderr
        assert "have no classes, and this needs their labels: put the images of each class" in error
    assert not Path("run").exists()


def test_all_images_of_class_folders_unless_the_checkpoint_was_trained_on_them(run, tmp_path: Path) -> None:
    photos(tmp_path / "set", {"a": 10, "b": 5})
    result = run("capture", "-o", "capture.h5", *COLOUR, "--data", "folder:set", "--images", "40")
    assert f"folder:{tmp_path / 'set'} has 15 images, not 40: all of them are taken." in result.stderr
    assert np.bincount(open_capture("capture.h5")["label"]).tolist() == [10, 5]
    result = run("capture", *COLOUR, "--data", "folder:set", "--split", "test", "--images", "40", "-o", "test.h5")
    assert "has 3 test images, not 40" in result.stderr

    meta = {"model": "resnet11", "attention": "se", "num_classes": 2, "data": f"folder:{tmp_path / 'set'}"}
    checkpoint.save("ours.safetensors", models.build("resnet11", num_classes=2, attention="se"), meta)
    run("capture", "--ckpt", "ours.safetensors", "-o", "ours.h5")
    tree = open_capture("ours.h5")
    assert (tree.sizes["image"], tree.attrs["split"]) == (3, "test")


def test_gradcam_is_of_the_images_that_the_capture_is_of(run, tmp_path: Path) -> None:
    photos(tmp_path / "set", {"a": 10, "b": 10})
    run("capture", "-o", "capture.h5", *COLOUR, "--data", "folder:set", "--split", "train")
    run("gradcam", *COLOUR, "--data", "folder:set", "-o", "capture.h5")
    assert open_capture("capture.h5").sizes["image"] == 16


def inputs_of(run, *arguments: str) -> np.ndarray:
    """What the network was fed with in its last pass."""
    import stripe.models.factory as factory

    made = []
    build = factory.build

    def remembering(*args, **kwargs):
        made.append(build(*args, **kwargs))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", remembering)
        run(*arguments)
    return made[0].seen.detach().numpy()


def picture(mean: list[float], std: list[float]) -> np.ndarray:
    values = np.asarray(Image.open("set/0.png").convert("RGB"), np.float32).transpose(2, 0, 1) / 255
    return (values - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], IMAGENET),
        (["--normalize", "half"], HALF),
        (["--normalize", "cifar10"], OFFICIAL),
        (["--normalize", "0.1,0.2,0.3/0.5"], ([0.1, 0.2, 0.3], [0.5] * 3)),
    ],
)
@pytest.mark.parametrize("command", ["capture", "gradcam"])
def test_images_are_normalised_as_is_said(run, tmp_path: Path, command: str, arguments: list[str], expected) -> None:
    photos(tmp_path / "set", {".": 1})
    seen = inputs_of(run, command, *COLOUR, "--data", "folder:set", *arguments, "-o", "x.h5")
    np.testing.assert_allclose(seen[0], picture(*expected), rtol=1e-5, atol=1e-6)
    with h5py.File("x.h5") as file:
        assert (json.loads(file.attrs["mean"]), json.loads(file.attrs["std"])) == expected


def test_fuse_compares_on_images_as_the_checkpoint_says(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "set", {".": 1})
    model = models.build("resnet11")
    asr.reparameterize(model, attention="se")
    meta = {"model": "resnet11", "num_classes": 10, "asr": {"attention": "se"}, "image_size": 16}
    checkpoint.save("asr.safetensors", model, meta | {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]})
    compare, seen = asr.compare, []

    def remembering(network, fused, images, dtype):
        seen.append(images)
        return compare(network, fused, images, dtype)

    monkeypatch.setattr(asr, "compare", remembering)
    command = ["fuse", "--ckpt", "asr.safetensors", "-o", "fused.safetensors", "--data", "folder:set"]
    assert "normalised" not in run(*command).stderr
    np.testing.assert_allclose(seen[0][0], picture([0.1, 0.2, 0.3], [0.5] * 3), rtol=1e-5, atol=1e-6)
    assert checkpoint.read("fused.safetensors").meta["mean"] == [0.1, 0.2, 0.3]
    assert "(--normalize)" in run(*command, "--normalize", "none").stderr
    np.testing.assert_allclose(seen[2][0], picture([0] * 3, [1] * 3), rtol=1e-5, atol=1e-6)


def test_what_is_no_normalisation(run) -> None:
    result = run("capture", "-o", "capture.h5", *COLOUR, "--normalize", "imagnet", code=2)
    assert "'imagnet' is no normalisation. Give imagenet, cifar10" in result.stderr.replace("\n", " ")


def test_where_the_normalisation_comes_from(run, tmp_path: Path) -> None:
    photos(tmp_path / "set", {".": 2})
    se = {"model": "resnet11", "attention": "se", "num_classes": 10}
    model = models.build("resnet11", attention="se")

    def used(*arguments: str) -> tuple[list[float], list[float], str]:
        result = run("capture", *arguments, "--data", "folder:set", "-o", "x.h5")
        with h5py.File("x.h5") as file:
            found = json.loads(file.attrs["mean"]), json.loads(file.attrs["std"])
        Path("x.h5").unlink()
        return *found, "".join(line for line in result.stderr.splitlines() if "normalised" in line)

    checkpoint.save("said.safetensors", model, se | {"data": "cifar100", "mean": [0.1, 0, 0.3], "std": [1, 0.5, 0.25]})
    assert used("--ckpt", "said.safetensors") == ([0.1, 0.0, 0.3], [1.0, 0.5, 0.25], "")
    assert used("--ckpt", "said.safetensors", "--normalize", "half")[:2] == HALF
    checkpoint.save("older.safetensors", model, se | {"data": "cifar10"})  # as the first release wrote them
    assert used("--ckpt", "older.safetensors") == (*OFFICIAL, "")
    torch.save({"state_dict": model.state_dict()}, "official.pth.tar")
    *found, line = used("--ckpt", "official.pth.tar")
    assert tuple(found) == OFFICIAL
    assert "what the official code feeds such networks; --normalize says otherwise" in line


def test_weights_from_elsewhere_are_fed_as_the_published_ones(run, tmp_path: Path) -> None:
    photos(tmp_path / "set", {"a": 2, "b": 2})
    torch.save(models.build("timm:test_resnet", num_classes=2).state_dict(), "foreign.pth")  # published: .5 and .5
    names = ["--model", "timm:test_resnet", "--data", "folder:set", "--image-size", "32"]
    result = run("evaluate", "--ckpt", "foreign.pth", *names)
    assert "mean/std 0.5,0.5,0.5/0.5,0.5,0.5 (as for the published weights of timm:test_resnet" in result.stderr


def test_grey_networks(run, tmp_path: Path) -> None:
    photos(tmp_path / "set", {".": 1})
    for command in ("capture", "gradcam"):
        seen = inputs_of(run, command, *GREY, "--data", "folder:set", "--normalize", "none", "-o", f"{command}.h5")
        assert seen.shape[1:] == (1, 16, 16)
        grey = np.asarray(Image.open("set/0.png").convert("L"), np.float32) / 255  # rounded
        np.testing.assert_allclose(seen[0, 0], grey, atol=0.6 / 255)
        with h5py.File(f"{command}.h5") as file:
            assert np.allclose(json.loads(file.attrs["std"]), [1])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "timm:resnet18", "--model-arg", "in_chans=1", "--image-size", "32"],
        GREY,
        [*COLOUR, "--model-arg", "channels=4", "--channels", "4"],
    ],
)
def test_inspect_finds_the_channels(run, arguments: list[str]) -> None:
    code = 1 if "timm:resnet18" in arguments else 0  # which has no attention
    result = run("inspect", *arguments, code=code)
    assert "channels" not in result.stderr


def test_other_numbers_of_channels_are_refused(run, tmp_path: Path) -> None:
    photos(tmp_path / "set", {".": 1})
    result = run("capture", "-o", "capture.h5", *COLOUR, "--data", "folder:set", "--channels", "4", code=1)
    assert "--channels 4: image files are of 1 channel (grey) or 3 (colour)" in result.stderr
    result = run("capture", "-o", "capture.h5", *COLOUR, "--model-arg", "channels=4", "--data", "folder:set", code=1)
    assert "to have 4 channels, but got 3" in result.stderr


def test_training_of_a_grey_network_keeps_how_its_images_were_made(run, tmp_path: Path) -> None:
    photos(tmp_path / "set", {"a": 15, "b": 15})
    run("train", *GREY, "--data", "folder:set", "--epochs", "1", "--out", "run", "--capture", "90")
    meta = checkpoint.read("run/best.safetensors").meta
    assert meta["mean"] == pytest.approx([0.299 * 0.485 + 0.587 * 0.456 + 0.114 * 0.406])
    assert open_capture("run/capture.h5").sizes["image"] == 6
    result = run("evaluate", "--ckpt", "run/best.safetensors", *GREY)
    assert "normalised" not in result.stderr


def test_training_stores_the_normalisation(run) -> None:
    data = ["--data", "shapes:train=20,test=10", "--image-size", "16"]
    run("train", "--model", "resnet11", *data, "--epochs", "1", "--out", "run")
    meta = checkpoint.read("run/best.safetensors").meta
    assert (meta["mean"], meta["std"]) == ([0.495, 0.497, 0.507], [0.224, 0.229, 0.249])


@pytest.mark.skipif(os.name != "posix", reason="names of files are text there")
def test_names_that_are_not_utf8_are_printed(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = os.fsdecode(b"caf\xe9")
    photos(tmp_path / name, {"a": 5, "b": 5})
    (tmp_path / name / "a" / os.fsdecode(b"\xff.txt")).touch()
    checkpoint.save(
        "ours.safetensors", models.build("resnet11", num_classes=2), {"model": "resnet11", "num_classes": 2}
    )
    output = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(output, encoding="utf-8"))
    main(["evaluate", "--ckpt", "ours.safetensors", "--data", f"folder:{name}"], standalone_mode=False)
    assert rb"/caf\udce9)" in output.getvalue()
    assert "1 file is left out" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="names of files are text there")
def test_runs_on_folders_whose_names_are_not_utf8(run, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    photos(tmp_path / name, {"a": 15, "b": 15})
    run("train", *COLOUR, "--data", f"folder:{name}", "--epochs", "1", "--out", "run")
    assert checkpoint.read("run/best.safetensors").meta["data"] == f"folder:{tmp_path / name}"
    run(
        "train", *COLOUR, "--data", f"folder:{name}", "--epochs", "1", "--out", "run"
    )  # the same run, so it is taken up
    assert "images of" in run("evaluate", "--ckpt", "run/best.safetensors", *COLOUR).stdout
