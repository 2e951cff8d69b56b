"""Checkpoints of others, as the commands take them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stripe import models
from stripe.capture import open_capture

NETWORK = ["--model", "resnet11", "--attention", "se", "--num-classes", "2"]
OUT = ("-o", "capture.h5")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of photos; checkpoints go beside them."""
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            image = Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "run").mkdir()
    return tmp_path


def weights(value: float) -> dict[str, torch.Tensor]:
    """A network whose gates are σ(value)."""
    model = models.build("resnet11", num_classes=2, attention="se")
    for name, parameter in model.named_parameters():
        if "attention_module.fc2" in name:
            torch.nn.init.constant_(parameter, value if name.endswith("bias") else 0)
    return model.state_dict()


def gates(*epochs: float) -> list[float]:
    return (1 / (1 + np.exp(-np.array(epochs)))).tolist()


def captured() -> list[float]:
    attention = open_capture("capture.h5")["sites/layer2.0.attention_module/attention"].values
    return [float(value) for value in attention[:, 0, 0]]


def test_entries_and_prefixes(run, folder: Path) -> None:
    lightning = {"model." + name: value for name, value in weights(1).items()} | {"criterion.weight": torch.ones(2)}
    torch.save({"epoch": 0, "state_dict": lightning, "ema": {"module": weights(2)}}, folder / "run" / "a.ckpt")
    arguments = [*NETWORK, "--data", "folder:photos", "--normalize", "imagenet"]
    run("capture", *OUT, "--ckpt", "run/a.ckpt", *arguments, "--images", "2")
    assert captured() == pytest.approx(gates(1))
    refused = run("capture", *OUT, "--ckpt", "run/a.ckpt", *arguments, "--images", "2", "--weights", "ema", code=1)
    assert "weights" in refused.stderr  # a capture of others is not gone on with
    Path("capture.h5").unlink()
    run("capture", *OUT, "--ckpt", "run/a.ckpt", *arguments, "--images", "2", "--weights", "ema")
    assert captured() == pytest.approx(gates(2))


@pytest.mark.parametrize("command", [["evaluate"], ["gradcam", "--images", "2"]])
def test_the_average_is_asked_for_in_every_command(run, folder: Path, command: list[str]) -> None:
    torch.save({"model": weights(1), "model_ema": weights(2)}, folder / "run" / "a.pth")
    arguments = [*command, "--ckpt", "run/a.pth", *NETWORK, "--data", "folder:photos"]
    run(*arguments, "--weights", "ema")
    assert "no weights called 'swa'" in run(*arguments, "--weights", "swa", code=1).stderr


@pytest.mark.parametrize("again", ["copy", "saved again", "other weights", "without an epoch"])
def test_the_last_checkpoint_of_a_run(run, folder: Path, again: str) -> None:
    for epoch in range(2):
        torch.save({"epoch": epoch, "state_dict": weights(epoch)}, folder / "run" / f"epoch={epoch}.ckpt")
    last = folder / "run" / "last.ckpt"
    match again:
        case "copy":
            shutil.copy(folder / "run" / "epoch=1.ckpt", last)
        case "saved again":
            content = torch.load(folder / "run" / "epoch=1.ckpt")
            torch.save(content | {"step": 900}, last)
        case "other weights":
            torch.save({"epoch": 1, "state_dict": weights(5)}, last)
        case "without an epoch":
            torch.save(torch.load(folder / "run" / "epoch=1.ckpt")["state_dict"], last)
    result = run("capture", *OUT, "--ckpt", "run", *NETWORK, "--data", "folder:photos", "--images", "2")
    assert captured() == pytest.approx(gates(0, 1))
    if again != "copy":
        assert "last.ckpt: left out, " in result.stderr


def test_two_checkpoints_of_one_epoch(run, folder: Path) -> None:
    for step in (100, 200):
        torch.save({"epoch": 1, "state_dict": weights(step)}, folder / "run" / f"step={step}.ckpt")
    result = run("capture", *OUT, "--ckpt", "run", *NETWORK, "--data", "folder:photos", "--images", "2", code=1)
    assert "are both of epoch 1. Leave one of them away." in result.stderr
