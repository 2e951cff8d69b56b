import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from stripe import asr, checkpoint, models
from stripe.asr.noise import add_noise
from stripe.data import load
from stripe.tasks import Scoring, Task, registry
from tests.asr import official_code

SHAPES = "shapes:train=20,test=30"
REFERENCE = Path(__file__).parents[3] / "shared" / "reference"


def save(path, model, **meta):
    """A checkpoint whose network tells classes apart at random."""
    torch.nn.init.normal_(model.fc.weight)
    described = {"model": "resnet11", "num_classes": 10, "data": SHAPES, "image_size": 16, "epoch": 1}
    checkpoint.save(path, model, {**described, **meta})
    return model.eval()


def expected(model, mean=None, std=None):
    """By numpy, from the logits of all test images at once."""
    data = load(SHAPES, image_size=16)
    data = replace(data, mean=mean or data.mean, std=std or data.std)
    images, labels = next(iter(data.test.loader(30)))
    with torch.inference_mode():
        logits = model(data.normalize(images)).double().numpy()
    labels = labels.numpy()
    order = np.argsort(-logits, axis=1)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(30), labels]
    return {
        "top1": 100 * (order[:, 0] == labels).mean(),
        "top5": 100 * (order[:, :5] == labels[:, None]).any(1).mean(),
        "loss": losses.mean(),
    }


def test_accuracies_and_loss(run) -> None:
    model = save("plain.safetensors", models.build("resnet11"))
    found = json.loads(run("evaluate", "--ckpt", "plain.safetensors", "--format", "json", "--batch-size", "7").stdout)
    about = {"images": 30, "data": SHAPES, "split": "test"}
    assert {key: found.pop(key) for key in about} == about
    assert found == pytest.approx(expected(model), rel=1e-5)
    assert 0 < found["top1"] < found["top5"] < 100  # or the network could not tell right from wrong


def test_a_line_for_people(run) -> None:
    save("plain.safetensors", models.build("resnet11"))
    found = json.loads(run("evaluate", "--ckpt", "plain.safetensors", "--format", "json").stdout)
    assert run("evaluate", "--ckpt", "plain.safetensors").stdout == (
        f"plain.safetensors: top-1 {found['top1']:.2f} %, top-5 {found['top5']:.2f} %, loss {found['loss']:.4f} "
        f"(30 test images of {SHAPES})\n"
    )


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("attention", ["none", "eca"])
def test_asr_attention_and_noise_are_as_the_checkpoint_has_them(run, attention, noisy) -> None:
    model = models.build("resnet11", attention=attention)
    asr.reparameterize(model, attention="ie", copies=2)
    noise = {"factor": 0.8, "offset": 0.5, "std": 0.1}
    if noisy:
        add_noise(model, **noise)
    settings = {"attention": "ie", "copies": 2}
    save("asr.safetensors", model, attention=attention, asr=settings, noise=noise if noisy else None)
    found = json.loads(run("evaluate", "--ckpt", "asr.safetensors", "--format", "json").stdout)
    for key, value in expected(model).items():
        assert found[key] == pytest.approx(value, rel=1e-5)


def test_model_and_data_can_be_named(run) -> None:
    model = models.build("resnet11", num_classes=10)
    torch.save(model.state_dict(), "foreign.pth")
    names = ["--model", "resnet11", "--data", SHAPES, "--image-size", "16", "--split", "train", "--format", "json"]
    found = json.loads(run("evaluate", "--ckpt", "foreign.pth", *names).stdout)
    assert (found["images"], found["split"]) == (20, "train")


def test_fewer_than_five_classes(run, tmp_path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(np.full((16, 16, 3), 40 * index, np.uint8)).save(tmp_path / "pets" / name / f"{index}.png")
    save("pets.safetensors", models.build("resnet11", num_classes=2), num_classes=2, data="folder:pets")
    assert json.loads(run("evaluate", "--ckpt", "pets.safetensors", "--format", "json").stdout)["top5"] == 100


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no reference files")
@pytest.mark.parametrize("name", ["plain", "se", "asr", "both"])
def test_official_checkpoints_say_themselves_what_they_are(run, name) -> None:
    path = REFERENCE / f"resnet20-{name}.pth.tar"
    names = ["--data", SHAPES, "--image-size", "16"]
    found = json.loads(run("evaluate", "--ckpt", str(path), *names, "--format", "json").stdout)
    official = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
    for key, value in expected(asr.restore(checkpoint.read(path)).eval(), **official).items():
        assert found[key] == pytest.approx(value, rel=1e-4)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no reference files")
@pytest.mark.parametrize("name", ["plain", "se", "asr", "both"])
def test_a_folder_of_images_gives_the_official_accuracy(run, tmp_path: Path, name: str) -> None:
    """Random pictures; classes as the official network itself sees them in two of three, so that it is often right."""
    path = REFERENCE / f"resnet20-{name}.pth.tar"
    state = official_code.weights(path)
    noise = np.random.default_rng(0)
    files = []
    for index in range(60):
        coarse = Image.fromarray(noise.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        files.append(tmp_path / f"{index:02d}.png")
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(files[-1])
    with torch.no_grad():
        seen = official_code.logits(state, official_code.images(files)).argmax(1).tolist()
    labels = [found if index % 3 else index % 10 for index, found in enumerate(seen)]
    for half in ("train", "test"):
        for number in range(10):
            (tmp_path / "set" / half / str(number)).mkdir(parents=True)
    for file, label in zip(files, labels, strict=True):
        shutil.copy(file, tmp_path / "set" / "test" / str(label))
    for number in range(10):  # every class has an image in each half
        for half in ("train", "test"):
            shutil.copy(files[number], tmp_path / "set" / half / str(number) / "more.png")
    right = sum(a == b for a, b in zip(seen, labels, strict=True)) + sum(seen[n] == n for n in range(10))
    result = run("evaluate", "--ckpt", str(path), "--data", "folder:set", "--format", "json")
    assert json.loads(result.stdout)["top1"] == pytest.approx(100 * right / 70, abs=1e-9)
    assert "mean/std 0.4914,0.4822,0.4465/0.2023,0.1994,0.201 (what the official code" in result.stderr


def test_what_is_wrong_is_said(run) -> None:
    model = models.build("resnet11")
    torch.save(torch.nn.Linear(2, 2).state_dict(), "foreign.pth")
    torch.nn.init.constant_(model.fc.bias, math.nan)
    save("broken.safetensors", model)

    def error(*arguments):
        return run("evaluate", "--ckpt", *arguments, code=1).stderr

    assert "missing.safetensors cannot be read" in error("missing.safetensors")
    assert "Name the model" in error("foreign.pth", "--data", SHAPES)
    assert "Name the data" in error("foreign.pth", "--model", "resnet11")
    assert "does not fit" in error("foreign.pth", "--model", "resnet11", "--data", SHAPES)
    assert "broken.safetensors is nan" in error("broken.safetensors")


class Spread(NamedTuple):
    loss: float
    spread: float


class Spreads(Task):
    """How far the outputs of an image lie apart; there are no labels to be right about."""

    name = "spreads"
    scoring = Scoring(("loss", "spread"), best="spread", higher_is_better=False, units={"spread": "px"})

    def losses(self, output, targets):
        return {"square": output.square().mean()}

    def sums(self, output, targets, *, training):
        return (output.amax(1) - output.amin(1)).sum()[None]

    def score(self, loss, sums, images):
        return Spread(loss, sums[0] / images)


def test_a_network_of_another_task(run, monkeypatch) -> None:
    model = save("spread.safetensors", models.build("resnet11"), task=Spreads().settings())
    refused = run("evaluate", "--ckpt", "spread.safetensors", code=1)
    assert "'spreads' is none of stripe's" in refused.stderr
    monkeypatch.setitem(registry._known, "spreads", Spreads)
    found = json.loads(run("evaluate", "--ckpt", "spread.safetensors", "--format", "json").stdout)
    images, _ = next(iter((data := load(SHAPES, image_size=16)).test.loader(30)))
    with torch.inference_mode():
        logits = model(data.normalize(images))
    assert found["spread"] == pytest.approx(float((logits.amax(1) - logits.amin(1)).mean()), rel=1e-4)
    assert found["loss"] == pytest.approx(float(logits.square().mean()), rel=1e-4)
    assert " px (30 test images" in run("evaluate", "--ckpt", "spread.safetensors").stdout
