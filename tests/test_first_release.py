"""Files that the first release wrote, one of each: a run, its checkpoint and capture, and a folded network.

Made by it with ``stripe train --model resnet11 --attention se --data shapes:train=40,test=20 --image-size 16 --epochs 2
--capture 4 --save-every 0`` and ``stripe fold --images 16``; the numbers below are those that it printed.
"""

import shutil
from pathlib import Path

import pytest
import torch

import stripe
from stripe import analysis, checkpoint, report
from stripe.capture import open_capture
from stripe.data import load
from stripe.training import Compute, Run, evaluate

HERE = Path(__file__).parent / "first_release"


@pytest.mark.parametrize(
    ("name", "loss", "parameters"),
    [("run/best.safetensors", 2.2983772277832033, 138_870), ("folded.safetensors", 2.2983821868896483, 127_642)],
)
def test_networks_load_and_score_as_they_did(name: str, loss: float, parameters: int) -> None:
    read = checkpoint.read(HERE / name)
    assert (read.spec.model, read.spec.attention, read.spec.image_size) == ("resnet11", "se", 16)
    model = stripe.load(HERE / name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    data = load("shapes:train=40,test=20", image_size=16)
    compute = Compute(torch.device("cpu"), torch.float32)
    score = evaluate(compute.place(model), data.test.loader(20, workers=0), data, compute)
    assert score.accuracy == 10.0
    assert score.loss == pytest.approx(loss, rel=1e-5)


def test_a_run_is_read() -> None:
    run = Run(HERE / "run")
    assert run.settings["recipe"]["epochs"] == 2
    assert [row.test_accuracy for row in run.history] == [10.0, 5.0]
    assert run.best.epoch == 1
    assert run.best.val_loss == 2.3231239318847656


def test_a_capture_is_analysed_and_reported(tmp_path: Path) -> None:
    tree = open_capture(HERE / "run" / "capture.h5")
    table = analysis.metrics(tree)
    last = table[table["site"] == "layer3.0.attention_module"]["stripe_index"].to_list()
    assert last == pytest.approx([0.9982315481764457, 0.9974815575966409])
    shutil.copytree(HERE / "run", tmp_path / "run")
    report.save(tmp_path / "page.html", tree, [Run(tmp_path / "run")])
    assert "resnet11" in (tmp_path / "page.html").read_text()
