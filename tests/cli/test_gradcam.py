import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stripe import checkpoint, models
from stripe.capture import open_capture

SHAPES = "shapes:train=40,test=40"


@pytest.fixture
def ckpt(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "best.safetensors"
    model = models.build("resnet11", attention="se")
    meta = {"model": "resnet11", "attention": "se", "num_classes": 10, "data": SHAPES, "epoch": 4}
    checkpoint.save(path, model, meta)
    return path


def test_from_a_checkpoint_to_a_picture(run, ckpt: Path) -> None:
    output = run("gradcam", "--ckpt", "best.safetensors", "--images", "20", "-o", "cam.h5").output
    assert "cam.h5: Grad-CAM of 20 images at layer3. Centre bias" in output
    tree = open_capture("cam.h5")
    found = tree["gradcam/layer3"]
    assert found["mean"].shape == (32, 32)
    assert "map" not in found
    assert (found.attrs["checkpoint"], found.attrs["epoch"], found.attrs["weights"]) == (
        "best.safetensors",
        4,
        "checkpoints",
    )
    assert np.bincount(tree["label"]).tolist() == [2] * 10
    assert tree["path"].values[0].startswith("test/")
    assert tree.attrs["data"] == SHAPES
    run("plot", "--kind", "gradcam", "cam.h5", "cam.h5", "--over-image", "-o", "fig6.png")
    assert Path("fig6.png").stat().st_size > 10_000


def test_the_maps_of_a_run(run, ckpt: Path) -> None:
    """A run stands for its capture, and what holds the runs of several seeds for theirs."""
    for seed in (0, 1):
        folder = Path(f"runs/seed-{seed}")
        folder.mkdir(parents=True)
        record = {"format": "stripe-run", "scale": "1 epoch", "settings": {}, "sessions": []}
        (folder / "run.json").write_text(json.dumps(record))
        run("gradcam", "--ckpt", "best.safetensors", "--images", "10", "-o", f"{folder}/capture.h5")
    run("plot", "--kind", "gradcam", "runs", "runs/seed-0/capture.h5")
    with Image.open("runs-gradcam.png") as image:
        panels = json.loads(image.text["Description"])["drawn"]["panels"]  # type: ignore[attr-defined]
    assert [panel["capture"] for panel in panels] == [f"runs/seed-{seed}/capture.h5" for seed in (0, 1, 0)]


def test_into_a_capture_of_the_same(run, ckpt: Path) -> None:
    """As many images as it holds, the same ones."""
    run("capture", "-o", "capture.h5", "--ckpt", "best.safetensors", "--images", "10", "--seed", "2")
    run("gradcam", "--ckpt", "best.safetensors", "-o", "capture.h5", "--seed", "2", "--layer", "layer2", "--maps")
    tree = open_capture("capture.h5")
    assert tree["gradcam/layer2/map"].shape == (10, 32, 32)
    assert "attention" in tree["sites/layer1.0.attention_module"]
    output = run("gradcam", "--ckpt", "best.safetensors", "-o", "capture.h5", "--seed", "3", code=1).output
    assert "holds other images" in output
    output = run("gradcam", "--model", "resnet11", "--data", SHAPES, "-o", "capture.h5", "--seed", "2", code=1).output
    assert "its attention is 'se', not 'none'" in output


def test_what_is_replaced_is_said_and_random_weights_replace_nothing(run, ckpt: Path) -> None:
    run("gradcam", "--ckpt", "best.safetensors", "--images", "10")
    again = run("gradcam", "--ckpt", "best.safetensors")
    assert "gradcam.h5: replaces the average of epoch 4" in again.stderr
    named = ["--model", "resnet11", "--attention", "se", "--data", SHAPES, "--num-classes", "10"]
    assert "its weights are trained ones, not random" in run("gradcam", *named, code=1).stderr
    assert open_capture("gradcam.h5")["gradcam/layer3"].attrs["epoch"] == 4


def test_a_folder_as_checkpoint(run, ckpt: Path) -> None:
    assert f"{ckpt.parent} is a folder; name a checkpoint in it, such as {ckpt}" in (
        run("evaluate", "--ckpt", str(ckpt.parent), code=1).stderr
    )


def test_target(run, ckpt: Path) -> None:
    run("gradcam", "--ckpt", "best.safetensors", "--images", "10", "--target", "3")
    assert open_capture("gradcam.h5")["gradcam/layer3"].attrs["target"] == "class 3"
    assert open_capture("gradcam.h5")["gradcam/layer3/target"].values.tolist() == [3] * 10
    run("gradcam", "--ckpt", "best.safetensors", "--images", "10", "--target", "label")
    tree = open_capture("gradcam.h5")
    assert tree["gradcam/layer3/target"].values.tolist() == tree["label"].values.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layer", "layer9"], "has no layer 'layer9'. Close to it: layer3"),
        (["--layer", "fc"], "no map over the image"),
        (["--target", "10"], "There is no class 10"),
        (["--data", "nothing"], "nothing"),
        (["-o", "nowhere/a.h5"], "nowhere is no folder"),
    ],
)
def test_mistakes_are_a_sentence(run, ckpt: Path, options: list[str], message: str) -> None:
    output = run("gradcam", "--ckpt", "best.safetensors", "--images", "10", *options, code=1).output
    assert message in " ".join(output.split())
    assert "Traceback" not in output
    assert [p.name for p in Path().iterdir()] == ["best.safetensors"]


def test_a_target_that_is_none(run) -> None:
    assert "neither predicted nor label" in run("gradcam", "--model", "resnet11", "--target", "best", code=2).output


def test_several_checkpoints(run, ckpt: Path) -> None:
    Path("other.safetensors").write_bytes(ckpt.read_bytes())
    assert "names 2 checkpoints" in run("gradcam", "--ckpt", "*.safetensors", code=1).output


def test_images_of_which_nothing_speaks_for_the_class(run, ckpt: Path) -> None:
    read = checkpoint.read(ckpt)
    model = models.build("resnet11", attention="se")
    checkpoint.load_into(model, read)
    with torch.no_grad():
        model.fc.weight[:] = -1
    checkpoint.save(Path("dark.safetensors"), model, read.meta)
    output = run("gradcam", "--ckpt", "dark.safetensors", "--images", "10").output
    assert "In 10 of 10 images nothing at layer3 speaks for the class" in output
    assert "every map is all zeros" in output
    run("plot", "--kind", "gradcam", "gradcam.h5", "-o", "dark.png")


def test_the_other_commands_on_a_file_of_maps_alone(run, ckpt: Path) -> None:
    run("gradcam", "--ckpt", "best.safetensors", "--images", "10", "-o", "cam.h5")
    assert "stripe plot --kind gradcam cam.h5" in run("inspect", "cam.h5").output
    assert json.loads(run("inspect", "cam.h5", "--format", "json").output) == []
    assert "Grad-CAM maps and no attention" in run("analyze", "cam.h5", code=1).output
    output = run("plot", "--kind", "all", "cam.h5").output
    assert "cam-gradcam.png" in output
    assert "Left out stripe: The capture holds Grad-CAM maps and no attention" in output
    for kind in ("stripe", "std", "spatial", "index"):
        assert "Grad-CAM maps and no attention" in run("plot", "--kind", kind, "cam.h5", code=1).output
