import sys
from pathlib import Path

import pytest

from stripe import checkpoint, models
from stripe.capture import CaptureSession
from stripe.cli.interrupts import interruptible
from stripe.fold import pipeline

SHAPES = "shapes:train=40,test=20"


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def trained(run) -> None:
    model = models.build("resnet11", attention="se")
    checkpoint.save("se.safetensors", model, {"model": "resnet11", "attention": "se", "data": SHAPES, "image_size": 16})


def test_folding(run, trained, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "evaluate", interrupt)
    result = run("fold", "--ckpt", "se.safetensors", "--images", "20", "-o", "folded.safetensors", code=130)
    assert result.stderr.endswith("\nInterrupted. Nothing was written.\n")
    assert [path.name for path in Path().iterdir()] == ["se.safetensors"]


def test_a_capture_says_how_to_go_on(run, trained, monkeypatch) -> None:
    monkeypatch.setattr(CaptureSession, "record", interrupt)
    monkeypatch.setattr(sys, "argv", ["stripe", "capture", "--ckpt", "se.safetensors"])
    result = run("capture", "-o", "capture.h5", "--ckpt", "se.safetensors", "--images", "10", code=130)
    assert result.stderr.endswith(
        "Nothing that was finished is lost; to go on:\n  stripe capture --ckpt se.safetensors\n"
    )


def test_of_several_processes_one_speaks(capsys) -> None:
    with pytest.raises(SystemExit, match="130"), interruptible(tell=False):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
