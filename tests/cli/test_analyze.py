import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from stripe.analysis.bootstrap import NUMBERS
from stripe.capture import CaptureSession, as_capture


@pytest.fixture
def capture(se_net, images, tmp_path):
    """Two epochs of a tiny network on a few images."""
    path = tmp_path / "run.h5"
    with CaptureSession(se_net, DataLoader(TensorDataset(images), batch_size=3), path, epochs=[1, 2]) as session:
        for epoch in (1, 2):
            session.record(epoch, learning_rate=0.1)
            with torch.no_grad():
                se_net.att.fc.weight.add_(0.5)
    return path


def test_prints_a_verdict_a_site(run, capture):
    output = run("analyze", str(capture)).stdout
    assert "run.h5" in output
    assert "att" in output
    assert "1 channel site: 1 " in output


def test_json_is_a_list_of_verdicts(run, capture):
    found = json.loads(run("analyze", str(capture), "--format", "json").stdout)
    assert [verdict["site"] for verdict in found] == ["att"]
    numbers = [f"{name}{end}" for name in NUMBERS for end in ("", "_low", "_high")]
    assert found[0].keys() == {*("site", "kind", "epoch", "category"), *numbers, *("settled_by", "verdict")}
    assert found[0]["output_error_low"] <= found[0]["output_error"] <= found[0]["output_error_high"]
    assert found[0]["epoch"] == 2


def test_writes_the_numbers(run, capture, tmp_path):
    result = run("analyze", str(capture), "-o", "metrics.csv", "--tolerance", "0.5")
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["epoch"].tolist() == [1, 2]
    assert table["learning_rate"].tolist() == [0.1, 0.1]
    assert json.loads((tmp_path / "metrics.csv.json").read_text())["tolerance"] == 0.5
    assert "Wrote metrics.csv" in result.stderr
    assert table["output_error"].isna().tolist() == [True, False]  # of the last epoch alone
    assert (table["images"] == 6).all()


def test_shows_shares_and_the_error_of_the_output_with_its_interval(run, capture):
    output = run("analyze", str(capture)).stdout
    for words in ("η²", "channel/image/both", "output error", "undecided", "No control was recorded"):
        assert words in output


def test_a_capture_of_the_first_release_says_what_it_lacks(run):
    old = Path(__file__).parents[1] / "first_release" / "run" / "capture.h5"
    output = run("analyze", str(old)).stdout
    assert "constant error" in output
    assert "No output error: the maps are 0 in every image, or the capture is by an earlier release" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sites", "layer9.*"], "No site of the capture fits 'layer9.*'. It has att."),
        (["-o", "metrics.xlsx"], "A table is written as .csv, .parquet or .json"),
    ],
)
def test_errors_are_one_sentence(run, capture, arguments, message):
    assert message in run("analyze", str(capture), *arguments, code=1).stderr


def test_not_a_capture(run, tmp_path):
    (tmp_path / "notes.h5").write_text("hello")
    assert "notes.h5" in run("analyze", str(tmp_path / "notes.h5"), code=1).stderr
    assert "does not exist" in run("analyze", "nothing.h5", code=2).stderr


def test_nan_is_not_kept_quiet(run, se_net, images):
    torch.nn.init.constant_(se_net.att.fc.bias, float("nan"))
    with CaptureSession(se_net, DataLoader(TensorDataset(images), batch_size=3), "nan.h5") as session:
        session.record(0)
    output = run("analyze", "nan.h5").stdout
    assert "unknown" in output
    assert "Beware: NaN or infinite values in 1 site: att" in output


def test_an_untrained_network_is_like_its_control(run) -> None:
    """Each verdict that calls attention a constant says that the control is one, too."""
    model = ["--model", "resnet11", "--attention", "se", "--data", "shapes:train=40,test=40"]
    output = run("capture", *model, "--images", "30", "-o", "capture.h5").output
    assert "controls: init" in output
    rows = json.loads(run("analyze", "capture.h5", "--format", "json", "-o", "table.csv").stdout)
    assert all(row["against_init"] == "equal" for row in rows)
    constant = [row for row in rows if "constant" in row["category"]]
    assert constant
    assert all("like its control" in row["verdict"] for row in constant)
    assert [row["init_output_error"] for row in rows] == [row["output_error"] for row in rows]
    shown = run("analyze", "capture.h5").output
    assert f"{len(constant)} of these constants are equal to a control" in shown
    assert "No control was recorded" not in shown
    assert "init_output_error_low" in Path("table.csv").read_text().partition("\n")[0]
    assert "control init: at initialisation, built anew with seed 0 (epoch 0)" in run("inspect", "capture.h5").output


@pytest.mark.parametrize(
    ("given", "held"), [("none", []), ("permuted", ["permuted"]), ("init,permuted", ["init", "permuted"])]
)
def test_controls_by_name(run, given: str, held: list[str]) -> None:
    model = ["--model", "resnet11", "--attention", "se", "--data", "shapes:train=40,test=40"]
    run("capture", *model, "--images", "3", "--controls", given, "-o", "capture.h5")
    assert list(as_capture("capture.h5").controls) == held
    assert "none of init, permuted and none" in run("capture", *model, "--controls", "epoch0", code=2).output


def test_a_run_stands_for_its_capture(run):
    old = Path(__file__).parents[1] / "first_release" / "run"
    assert run("analyze", str(old), "--format", "json").stdout == (
        run("analyze", str(old / "capture.h5"), "--format", "json").stdout
    )


def test_a_run_without_a_capture(run, tmp_path):
    old = Path(__file__).parents[1] / "first_release" / "run" / "run.json"
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "run.json").write_bytes(old.read_bytes())
    assert "has no capture: train with --capture N" in run("analyze", "bare", code=1).stderr
