"""Labels that are not the network's classes: of other things, of a part of them, or in another order."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from stripe import checkpoint, models
from stripe.capture import open_capture
from stripe.data import load

ABOUT = {"model": "resnet11", "attention": "se", "image_size": 16}
FACTORY = """
import torch
from tests.foreign import Se

def big():
    torch.manual_seed(0)
    net = Se()
    net.fc = torch.nn.Linear(4, 1000)
    return net

def one():
    torch.manual_seed(0)
    net = Se()
    net.fc = torch.nn.Linear(4, 1)
    return net
"""


def photos(folder: str, *classes: str) -> str:
    random = np.random.default_rng(0)
    for name in classes:
        Path(folder, name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(random.integers(0, 255, (16, 16, 3), np.uint8)).save(Path(folder, name, f"{number}.png"))
    return f"folder:{folder}"


@pytest.fixture
def factory(run, tmp_path, monkeypatch):
    (tmp_path / "factories.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("factories", None)


def save(name: str, classes: list[str], count: int, **about) -> nn.Module:
    model = models.build("resnet11", attention="se", num_classes=count).eval()
    nn.init.normal_(model.fc.weight)
    checkpoint.save(name, model, {**ABOUT, "num_classes": count, "classes": classes, **about})
    return model


def test_agreement_is_measured_where_the_labels_are_others(run, factory) -> None:
    data = photos("photos", "a", "b", "c")
    flags = ["--model", "python:factories:big", "--data", data, "--images", "16", "-o", "f.safetensors"]
    result = run("fold", *flags, "--budget", "0", "--frontier", "f.csv", "--format", "json")
    tables = json.loads(result.stdout)
    assert tables["steps"][0]["agreement"] == 100
    assert tables["steps"][-1]["agreement"] == 100
    assert "tells 1000 classes apart, the data's are 3 (a, b, c)" in " ".join(result.stderr.split())
    assert "agreement" in Path("f.csv").read_text()
    assert "agreement with the unfolded network" in " ".join(run("fold", *flags).stdout.split())
    refused = run("fold", *flags, "--finetune", "1", code=1)
    assert "--finetune needs labels that are classes of the network" in " ".join(refused.stderr.split())
    refused = run("gradcam", *flags[:4], "--target", "label", "-o", "g.h5", code=1)
    assert "labels of folder:" in refused.stderr
    assert "are no classes of the network" in " ".join(refused.stderr.split())
    assert not Path("g.h5").exists()


def test_one_logit_tells_two_classes_apart(run, factory) -> None:
    data = photos("photos", "no", "yes")
    flags = ["--model", "python:factories:one", "--data", data, "--images", "16", "-o", "f.safetensors"]
    assert "accuracy" in json.loads(run("fold", *flags, "--format", "json").stdout)["steps"][0]


def test_evaluation_by_the_labels_of_other_classes_is_refused(run) -> None:
    data = photos("photos", "a", "b", "c")
    save("se.safetensors", ["x", "y", "z"], 3)
    refused = run("evaluate", "--ckpt", "se.safetensors", "--data", data, code=1)
    assert "the network's are 3 (x, y, z), the data's are 3 (a, b, c)" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(("names", "numbers"), [(["c", "b", "a"], [2, 1, 0]), (["x", "B", "C", "y", "A"], [4, 1, 2])])
def test_labels_are_numbered_as_the_network_does(run, names: list[str], numbers: list[int]) -> None:
    data = photos("photos", "a", "b", "c")
    model = save("se.safetensors", names, len(names))
    images, labels = next(iter(load(data).test.loader(30)))
    with torch.no_grad():
        scores = model(load(data).normalize(images))
    hits = (scores.argmax(1) == torch.tensor(numbers)[labels]).double().mean()
    found = json.loads(run("evaluate", "--ckpt", "se.safetensors", "--data", data, "--format", "json").stdout)
    assert found["top1"] == pytest.approx(100 * float(hits))
    flags = ["--ckpt", "se.safetensors", "--data", data]
    folded = run("fold", *flags, "--images", "16", "-o", "f.safetensors", "--format", "json")
    assert json.loads(folded.stdout)["steps"][0]["accuracy"] == pytest.approx(100 * float(hits))
    run("gradcam", *flags, "--target", "label", "--images", "6", "-o", "g.h5")
    file = open_capture("g.h5")
    (averages,) = file["gradcam"].children.values()
    assert averages["target"].values.tolist() == [numbers[label] for label in file["label"].values]


@pytest.mark.parametrize(
    ("about", "judged"),
    [
        ({"select": "val"}, "held-out"),
        ({"select": "test"}, "test"),
        ({"scale": "12 epochs of all 54 training images (6 held out) at 16 px"}, "held-out"),
        ({"scale": "12 epochs of all 60 training images at 16 px"}, "test"),
        ({}, "test"),
        ({"data": "shapes:train=90,test=10"}, "held-out"),
    ],
)
def test_what_a_fold_is_judged_on(run, about: dict[str, str], judged: str) -> None:
    """On what was trained on nothing is judged: images that were held out, or the test set."""
    spec = "shapes:train=60,test=30"
    classes = list(load(spec, image_size=16).classes)
    model = save("se.safetensors", classes, 10, **{"data": spec, **about})
    flags = ["--ckpt", "se.safetensors", "--data", spec, "--images", "60", "-o", "f.safetensors", "--format", "json"]
    result = run("fold", *flags)
    data = load(spec, image_size=16)
    from stripe.training.holdout import hold_out

    images, labels = next(iter((data.test if judged == "test" else hold_out(data.train)[1]).loader(60)))
    with torch.no_grad():
        hits = (model(data.normalize(images)).argmax(1) == labels).double().mean()
    assert json.loads(result.stdout)["steps"][0]["accuracy"] == pytest.approx(100 * float(hits))
    assert ("measured on the test set" in " ".join(result.stderr.split())) == (judged == "test")
