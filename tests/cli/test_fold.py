import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import stripe
from stripe import checkpoint, models
from stripe.data import load

SHAPES = "shapes:train=60,test=30"
ABOUT = {"model": "resnet11", "attention": "se", "num_classes": 10, "data": SHAPES, "image_size": 16}


@pytest.fixture
def trained(run):
    """A checkpoint whose network tells classes apart at random, with attention that depends on the image."""
    model = models.build("resnet11", attention="se").eval()
    torch.nn.init.normal_(model.fc.weight)
    checkpoint.save("se.safetensors", model, ABOUT)
    return model


def test_from_a_checkpoint_to_one_without_attention(run, trained) -> None:
    out = run("fold", "--ckpt", "se.safetensors", "--images", "20", "-o", "folded.safetensors", "--format", "json")
    tables = json.loads(out.stdout)
    assert [site["folded"] for site in tables["sites"]] == ["backwards"] * 3
    assert [step["step"] for step in tables["steps"]] == ["attention", "constants", "in the weights"]
    assert "11,228 fewer" in out.stderr
    folded = stripe.load("folded.safetensors")
    assert folded.state_dict().keys() == models.build("resnet11").state_dict().keys()
    data = load(SHAPES, image_size=16)
    images, labels = next(iter(data.test.loader(30)))
    with torch.inference_mode():
        hits = (folded(data.normalize(images)).argmax(1) == labels).double().mean()
    found = json.loads(run("evaluate", "--ckpt", "folded.safetensors", "--format", "json").stdout)
    assert found["top1"] == pytest.approx(100 * float(hits))


def test_everything_at_once(run, trained) -> None:
    flags = ["--sequential", "--win-back", "batchnorm", "--win-back", "bias", "--finetune", "1", "--budget", "100"]
    files = ["-o", "folded.safetensors", "--frontier", "frontier.csv", "--export", "torch"]
    result = run("fold", "--ckpt", "se.safetensors", "--images", "20", "--batch-size", "20", *flags, *files)
    assert "training for 1 epoch" in result.stdout
    table = pd.read_csv("frontier.csv")
    assert table["sites"].tolist() == [0, 1, 2, 3]
    assert (table["relative_speed"] > 0).all()
    run("plot", "--kind", "frontier", "frontier.csv", "-o", "again.png")
    for name in ("folded.safetensors", "folded.pt2", "frontier.png", "again.png", "frontier.csv.json"):
        assert Path(name).stat().st_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ckpt", "se.safetensors", "-o", "se.safetensors"], "is the checkpoint itself"),
        (["--ckpt", "se.safetensors", "-o", "f.safetensors", "--sites", "block*"], "no site that can be folded fits"),
        (["--ckpt", "se.safetensors", "-o", "f.safetensors", "--target-speed", "999"], "× 999 is not reached"),
        (["--ckpt", "se.safetensors", "-o", "f.safetensors", "--frontier", "f.txt"], "written as .csv, .parquet"),
        (["--model", "resnet11", "--data", SHAPES, "--image-size", "16", "-o", "f.safetensors"], "no attention that"),
    ],
)
def test_refusals_leave_no_file(arguments: list[str], message: str, run, trained, tmp_path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    assert message in " ".join(run("fold", *arguments, "--images", "20", code=1).stderr.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_files_of_a_run_are_not_written_over(run, trained) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_text("{}")
    Path("run/metrics.csv").write_text("epoch")
    refused = run("fold", "--ckpt", "se.safetensors", "-o", "f.safetensors", "--frontier", "run/metrics.csv", code=1)
    assert "run/metrics.csv is a file of the run in run" in " ".join(refused.stderr.split())
    assert Path("run/metrics.csv").read_text() == "epoch"


def test_what_is_folded_is_not_folded_again(run, trained) -> None:
    run("fold", "--ckpt", "se.safetensors", "--images", "20", "-o", "folded.safetensors")
    again = run("fold", "--ckpt", "folded.safetensors", "-o", "twice.safetensors", code=1)
    assert "is folded already" in again.stderr


def test_images_are_normalised_as_they_were(run) -> None:
    """A folded network of published weights keeps the mean and std of its images; here those of a checkpoint."""
    model = models.build("resnet11", attention="se").eval()
    torch.nn.init.normal_(model.fc.weight)
    checkpoint.save("se.safetensors", model, {**ABOUT, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]})
    run("fold", "--ckpt", "se.safetensors", "--images", "20", "-o", "folded.safetensors")
    folded = stripe.load("folded.safetensors")
    images, labels = next(iter(load(SHAPES, image_size=16).test.loader(30)))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]))
    with torch.inference_mode():
        loss = torch.nn.functional.cross_entropy(folded((images / 255 - mean) / std), labels)
    found = json.loads(run("evaluate", "--ckpt", "folded.safetensors", "--format", "json").stdout)
    assert found["loss"] == pytest.approx(float(loss), rel=1e-4)


def test_a_network_that_is_no_classifier(run, tmp_path) -> None:
    Path("dense_network.py").write_text(
        "import torch\n"
        "from stripe import models\n\n\n"
        "class Dense(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.body = models.build('resnet11', attention='se')\n"
        "        self.body.fc = torch.nn.Identity()\n\n"
        "    def forward(self, x):\n"
        "        maps = self.body.layer2(self.body.layer1(self.body.bn1(self.body.conv1(x))))\n"
        "        return {'mask': maps[:, :1], 'other': maps[:, 1:3]}\n\n\n"
        "def brightness(outputs, batch):\n"
        "    images, labels = batch\n"
        "    return outputs['mask'].mean((1, 2, 3)) + 0 * images.mean((1, 2, 3))\n"
    )
    words = ["fold", "--model", "python:dense_network:Dense", "--data", SHAPES, "--image-size", "16", "--images", "20"]
    out = run(*words, "-o", "f.safetensors", "--frontier", "f.csv", "--format", "json")
    assert "The network is no classifier, so the relative change of its outputs is measured" in out.stderr
    tables = json.loads(out.stdout)
    assert [site["folded"] for site in tables["sites"]] == ["backwards"] * 2
    assert "outputs" not in tables["steps"][0]
    assert tables["steps"][-1]["error"] > 0
    assert pd.read_csv("f.csv")["error"].notna().all()
    out = run(
        *words, "-o", "g.safetensors", "--metric", "dense_network:brightness", "--frontier", "g.csv", "--budget", "100"
    )
    assert "brightness" in out.stdout
    assert Path("g.png").stat().st_size
    for metric, message in {
        "dense_network": "not of the form MODULE:FUNCTION",
        "dense_network:dark": "no 'dark'",
    }.items():
        refused = run(*words, "-o", "h.safetensors", "--metric", metric, code=1)
        assert message in " ".join(refused.stderr.split())
    assert not Path("h.safetensors").exists()
