import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stripe import checkpoint, models
from stripe.capture import open_capture
from stripe.cli.outputs import capture_name

SHAPES = "shapes:train=40,test=40"
OUT = ("-o", "capture.h5")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Three of ours, whose SE gates are σ(epoch) at every channel."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    model = models.build("resnet11", attention="se")
    for epoch in (1, 2, 10):
        for name, parameter in model.named_parameters():
            if "attention_module.fc2" in name:
                torch.nn.init.constant_(parameter, epoch if name.endswith("bias") else 0)
        meta = {
            "model": "resnet11",
            "attention": "se",
            "num_classes": 10,
            "data": SHAPES,
            "epoch": epoch,
            "learning_rate": 0.1 / epoch,
        }
        checkpoint.save(folder / f"epoch-{epoch}.safetensors", model, meta)
    return folder


def test_checkpoints_say_what_they_are_of(run, checkpoints: Path) -> None:
    """Model and data come from the checkpoint; order is that of the epochs, not of the names."""
    output = run("capture", *OUT, "--ckpt", "run/checkpoints/*", "--images", "20", "--seed", "3").output
    assert "capture.h5: 3 epochs × 20 images" in output
    tree = open_capture("capture.h5")
    assert tree["epoch"].values.tolist() == [1, 2, 10]
    attention = tree["sites/layer2.0.attention_module/attention"].values
    assert attention.shape == (3, 20, 128)
    expected = 1 / (1 + np.exp(-np.array([1.0, 2.0, 10.0])))
    np.testing.assert_allclose(attention, np.broadcast_to(expected[:, None, None], attention.shape), rtol=1e-6)
    np.testing.assert_allclose(tree["learning_rate"], [0.1, 0.05, 0.01])
    assert np.bincount(tree["label"]).tolist() == [2] * 10
    assert tree["checkpoint"].values[2] == "run/checkpoints/epoch-10.safetensors"
    assert tree.attrs["model"] == "resnet11"
    assert tree.attrs["seed"] == 3
    assert len(json.loads(tree.attrs["classes"])) == 10


def test_unquoted_glob_and_resume(run, checkpoints: Path) -> None:
    names = [str(path) for path in sorted(checkpoints.iterdir())]
    run("capture", *OUT, "--ckpt", names[0], "--images", "10")
    run("capture", *OUT, "--ckpt", *names, "--images", "10")
    assert open_capture("capture.h5")["epoch"].values.tolist() == [1, 2, 10]


def test_capture_of_something_else_is_refused(run, checkpoints: Path) -> None:
    run("capture", *OUT, "--ckpt", "run/checkpoints", "--images", "10")
    before = Path("capture.h5").read_bytes()
    for changed in (["--images", "20"], ["--images", "10", "--seed", "1"], ["--images", "10", "--no-input"]):
        result = run("capture", *OUT, "--ckpt", "run/checkpoints", *changed, code=1)
        assert "capture.h5 is a capture of something else" in result.stderr
    assert Path("capture.h5").read_bytes() == before


def test_changed_weights_under_the_same_name_are_noticed(run, checkpoints: Path) -> None:
    run("capture", *OUT, "--ckpt", "run/checkpoints", "--images", "10")
    path = checkpoints / "epoch-1.safetensors"
    checkpoint.save(path, models.build("resnet11", attention="se"), checkpoint.read(path).meta)
    assert "with other weights" in run("capture", *OUT, "--ckpt", "run/checkpoints", "--images", "10", code=1).stderr


def test_model_without_checkpoint(run) -> None:
    arguments = ["--model", "torchvision:mobilenet_v3_small", "--data", SHAPES, "--image-size", "64", "--images", "10"]
    run("capture", *arguments, "--sites", "features.1.*", "--dtype", "float16", "-o", "m.h5")
    tree = open_capture("m.h5")
    assert list(tree["sites"].children) == ["features.1.block.1"]
    assert tree["sites/features.1.block.1/attention"].dtype == "float16"
    assert tree.attrs["weights"] == "random, seed 0"
    run("capture", *arguments, "--sites", "features.1.*", "--dtype", "float16", "-o", "again.h5")
    np.testing.assert_array_equal(
        tree["sites/features.1.block.1/attention"], open_capture("again.h5")["sites/features.1.block.1/attention"]
    )


def test_folder_of_images(run, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(4):
            picture = np.full((20, 20, 3), 40 * index, np.uint8)
            Image.fromarray(picture).save(tmp_path / "pets" / name / f"{index}.png")
    run(
        *("capture", *OUT, "--model", "resnet11", "--attention", "eca", "--data", "folder:pets"),
        *("--split", "train", "--images", "4"),
    )
    tree = open_capture("capture.h5")
    assert all(path.endswith(".png") for path in tree["path"].values)
    assert (tree["thumbnail"].values == tree["thumbnail"].values[:, :1, :1]).all()


def test_no_site(run) -> None:
    result = run("capture", *OUT, "--model", "resnet11", "--data", SHAPES, "--images", "4", code=1)
    assert "has no attention site" in result.stderr
    assert not Path("capture.h5").exists()


def test_wrong_checkpoint(run, checkpoints: Path) -> None:
    result = run("capture", *OUT, "--ckpt", "run/checkpoints", "--model", "resnet20", "--attention", "se", code=1)
    assert "epoch-1.safetensors" in result.stderr
    assert "layer1.1" in result.stderr
    assert "no complete epoch" in run("inspect", "capture.h5", code=1).stderr


def test_partial(run, checkpoints: Path) -> None:
    arguments = [
        "capture",
        "-o",
        "capture.h5",
        "--ckpt",
        "run/checkpoints/epoch-1.safetensors",
        "--model",
        "resnet20",
        "--attention",
        "se",
    ]
    result = run(*arguments, "--partial", "--images", "10")
    assert "skipped" in result.stderr
    assert open_capture("capture.h5").sizes["epoch"] == 1


def test_no_model_named(run) -> None:
    assert "--model" in run("capture", *OUT, "--data", SHAPES, code=1).stderr


def test_unknown_device(run) -> None:
    result = run(
        "capture",
        "-o",
        "capture.h5",
        "--model",
        "resnet11",
        "--attention",
        "se",
        "--data",
        SHAPES,
        "--device",
        "abacus",
        code=1,
    )
    assert "There is no device 'abacus'" in result.stderr


def test_random_weights_are_called_that(run) -> None:
    arguments = ["--model", "resnet11", "--attention", "se", "--data", SHAPES, "--images", "10"]
    assert "The weights are random" in run("capture", *OUT, *arguments).stderr
    assert "(weights: random, seed 0)" in run("analyze", "capture.h5").stdout


def test_a_checkpoint_without_an_epoch_among_others(run, checkpoints: Path) -> None:
    """`best` may be a copy of any of them; it is not the last epoch."""
    meta = dict(checkpoint.read(checkpoints / "epoch-1.safetensors").meta)
    del meta["epoch"]
    checkpoint.save(checkpoints / "best.safetensors", models.build("resnet11", attention="se"), meta)
    result = run("capture", *OUT, "--ckpt", "run/checkpoints", "--images", "10", code=1)
    assert "best.safetensors says no epoch" in result.stderr


def test_negative_seed(run) -> None:
    assert "Invalid value for '--seed'" in run("capture", *OUT, "--seed", "-1", code=2).output


@pytest.mark.parametrize(
    ("model", "attention", "data", "weights", "name"),
    [
        ("timm:seresnet50", "none", "folder:/home/me/photos", "published", "seresnet50-photos.h5"),
        ("timm:seresnet50", "none", "folder:/home/me/photos", "random, seed 0", "seresnet50-random-photos.h5"),
        ("resnet29", "se", "shapes:train=40", "checkpoints", "resnet29-se-shapes.h5"),
        ("python:mine.models:make", None, "cifar10", "as the factory made them", "make-cifar10.h5"),
        ("timm:hf-hub:me/net 1", "none", "folder:/a/my photos", "checkpoints", "me-net-1-my-photos.h5"),
        ("onnx:nets/edge.v2.onnx", "none", "folder:/a/b", "of the file", "edge.v2-b.h5"),
    ],
)
def test_name_of_the_file(model: str, attention: str | None, data: str, weights: str, name: str) -> None:
    assert capture_name({"model": model, "attention": attention, "data": data}, weights) == Path(name)


def test_captures_of_two_networks_do_not_meet_in_one_file(run) -> None:
    shared = ["--model", "resnet11", "--data", SHAPES, "--image-size", "16", "--images", "4"]
    assert "resnet11-se-random-shapes.h5: 1 epoch × 4 images" in run("capture", *shared, "--attention", "se").output
    run("capture", *shared, "--attention", "eca")
    assert {path.name for path in Path().iterdir()} == {"resnet11-se-random-shapes.h5", "resnet11-eca-random-shapes.h5"}


def test_a_capture_is_replaced_when_asked_for(run) -> None:
    arguments = ["capture", "--model", "resnet11", "--attention", "se", "--data", SHAPES, "--image-size", "16"]
    run(*arguments, "--images", "4", "-o", "a.h5")
    assert "--overwrite to replace it" in run(*arguments, "--images", "6", "-o", "a.h5", code=1).stderr
    run(*arguments, "--images", "6", "-o", "a.h5", "--overwrite")
    assert open_capture("a.h5").sizes["image"] == 6


def test_a_file_that_is_no_capture_is_never_replaced(run) -> None:
    Path("a.h5").write_text("dear diary")
    arguments = ["--model", "resnet11", "--attention", "se", "--data", SHAPES, "--image-size", "16", "--images", "4"]
    run("capture", *arguments, "-o", "a.h5", "--overwrite", code=1)
    assert Path("a.h5").read_text() == "dear diary"
