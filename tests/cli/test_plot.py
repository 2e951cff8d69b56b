import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from stripe.cli import main
from stripe.plots.kinds import kinds


@pytest.fixture
def capture(se_net, images, tmp_path):
    """Two epochs of a tiny network on six images."""
    from torch.utils.data import DataLoader, TensorDataset

    from stripe.capture import CaptureSession

    loader = DataLoader(TensorDataset(images, torch.arange(6)), batch_size=6)
    path = tmp_path / "run.h5"
    with CaptureSession(se_net, loader, path, epochs=[1, 2]) as session:
        for epoch in (1, 2):
            session.record(epoch)
            with torch.no_grad():
                se_net.att.fc.weight.add_(0.5)
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, ["plot", *map(str, arguments)])


def test_a_picture_is_written_and_named(run, capture, tmp_path):
    result = run("--kind", "stripe", capture)
    assert result.exit_code == 0, result.output
    assert result.stdout == "run-stripe.png\n"
    with Image.open(tmp_path / "run-stripe.png") as image:
        drawn = json.loads(image.text["Description"])["drawn"]
    assert drawn["capture"] == capture.name
    assert drawn["epoch"] == 2


def test_options_reach_the_plot(run, capture, tmp_path):
    result = run(
        *("--kind", "diff", capture, "-o", "out/d.png", "--sites", "a*", "--sites", "att"),
        *("--images", "4,1", "--channels", "2", "--seed", "5", "--style", "dark"),
    )
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out" / "d.png") as image:
        drawn = json.loads(image.text["Description"])["drawn"]
    assert drawn["images"] == [4, 1]
    assert len(drawn["sites"]["att"]["channels"]) == 2
    assert drawn["seed"] == 5


def test_all_kinds_into_a_folder(run, capture):
    result = run("--kind", "all", capture, "-o", "pictures", "--images", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [f"pictures/run-{kind}.png" for kind in ("stripe", "std", "diff", "index")]
    assert "Left out spatial: There is no spatial attention site" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "spatial"], "no spatial attention site"),
        (["--kind", "stripe", "-o", "a.bmp"], "end it in .png, .pdf or .svg"),
        (["--kind", "stripe", "--epoch", "9"], "does not hold epoch 9"),
        (["--kind", "stripe", "--sites", "layer"], "No site of the capture fits 'layer'"),
        (["--kind", "index", "--channels", "3"], "has no channels to choose"),
        (["--kind", "stripe", "--style", "fancy"], "no style 'fancy'"),
        (["--kind", "stripe", "--style", "photo.jpg"], "no style 'photo.jpg'"),
        (["--kind", "all", "-o", "x.png"], "-o is their folder, and x.png looks like a file"),
    ],
)
def test_mistakes_are_one_sentence(run, capture, arguments, message):
    result = run(capture, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_run_stands_for_its_capture(run, capture, tmp_path):
    for seed in ("seed-0", "seed-1"):
        folder = tmp_path / "runs" / seed
        folder.mkdir(parents=True)
        record = {"format": "stripe-run", "scale": "2 epochs", "settings": {}, "sessions": []}
        (folder / "run.json").write_text(json.dumps(record))
        shutil.copy(capture, folder / "capture.h5")
    assert run("--kind", "index", "runs/seed-1").stdout == "seed-1-index.png\n"
    assert "pictures/capture-index.png" in run("--kind", "all", "runs/seed-0", "-o", "pictures").stdout
    assert "runs/seed-0/capture.h5 holds no Grad-CAM maps" in run("--kind", "gradcam", "runs").stderr


def test_all_of_a_run_without_a_capture(run, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    record = json.loads((Path(__file__).parents[1] / "first_release" / "run" / "run.json").read_text())
    of_task = {"measures": ["loss"], "best": "loss", "higher_is_better": False, "losses": [], "labels": {}, "units": {}}
    record["settings"]["task"] = {"name": "style", **of_task}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "pictures").mkdir()
    images, ones = np.zeros((1, 8, 8, 3), np.uint8), np.ones(1)
    arrays = {"style": images, "content": images, "made": images, "content_loss": ones, "style_loss": ones}
    np.savez(folder / "pictures" / "last.npz", epoch=2, **arrays)
    result = run("--kind", "all", "mine", "-o", "pictures")
    assert result.stdout.split() == ["pictures/mine-transfer.png"]
    assert "Left out predictions: mine was trained for style" in result.stderr
    shutil.copytree("mine", "other")
    record["settings"]["args"] = {"width": 8}
    (tmp_path / "other" / "run.json").write_text(json.dumps(record))
    both = run("--kind", "all", "mine", "other", "-o", "both")
    assert both.stdout.split() == ["both/mine-transfer.png"]
    assert "Left out search" in both.stderr


def test_a_folder_that_is_no_run(run, tmp_path):
    (tmp_path / "photos").mkdir()
    assert "photos is no run" in run("--kind", "gradcam", "photos").stderr


@pytest.mark.parametrize("value", ["a", "1,b", "1.5"])
def test_a_choice_that_is_no_number(run, capture, value):
    result = run(capture, "--kind", "stripe", "--images", value)
    assert result.exit_code == 2
    assert "neither a number nor a list" in result.stderr


def test_a_file_that_is_no_capture(run, tmp_path):
    (tmp_path / "a.h5").write_bytes(b"not HDF5")
    result = run("a.h5", "--kind", "stripe")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


@pytest.mark.parametrize("data", ["capture", "captures", "runs", "speeds", "frontier"])
def test_the_help_lists_every_kind(run, data):
    shown = run("--help").output
    for name, kind in kinds(data).items():
        assert re.search(rf"^ +{name} +{re.escape(kind.shows)}", shown, re.MULTILINE)
    assert re.search(r"\[stripe\|.*\|all\]", shown.replace("\n", ""))


def test_a_kind_that_there_is_not(run, capture):
    assert "'pie' is not one of 'stripe', 'std'" in run(capture, "--kind", "pie").stderr


def test_several_captures_side_by_side(run, capture, tmp_path):
    other = tmp_path / "other.h5"
    shutil.copy(capture, other)
    result = run("--kind", "index", capture, other, "--width", "column", "--cmap", "magma", "-o", "both.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "both.png") as image:
        assert image.width == pytest.approx(3.3 * 300, abs=1)
        assert len(json.loads(image.text["Description"])["drawn"]["captures"]) == 2
    assert run("--kind", "index", capture, "--width", "broad").exit_code == 2
    assert "no colour map" in run("--kind", "index", capture, "--cmap", "broad").output
