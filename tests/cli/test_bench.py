import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from stripe import bench
from stripe.training import EpochMetrics, Run

QUICK = ("--image-size", "8", "--batch-size", "2", "--repeats", "2")
MODELS = "resnet11, resnet11+se,resnet11+asr(se)+fused"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 1e-4)


def make_run(path: str, accuracy: float, **settings: object) -> None:
    folder = Path(path)
    folder.mkdir(parents=True)
    described = {"model": "resnet11", "attention": "none", "data": "shapes", "select": "test", "num_classes": 4}
    record = {"format": "stripe-run", "scale": "1 epoch", "settings": {**described, **settings}, "sessions": []}
    (folder / "run.json").write_text(json.dumps(record))
    Run(folder).write_metrics([EpochMetrics(1, 0.1, 1.0, 50.0, 1.0, accuracy, 1.0, 1.0)])


def drawn(path: str) -> dict[str, object]:
    with Image.open(path) as image:
        described: dict[str, object] = json.loads(image.text["Description"])["drawn"]  # type: ignore[attr-defined]
    return described


def test_a_table_and_bars(run) -> None:
    result = run("bench", "--models", MODELS, *QUICK, "-o", "out/speed.png", "-o", "speed.csv")
    assert "GFLOPs" in result.stdout
    assert "resnet11+asr(se)+fused" in result.stdout
    assert "2 × 8 px" in result.stdout
    assert result.stderr.split()[-2:] == ["out/speed.png", "speed.csv"]
    assert drawn("out/speed.png")["kind"] == "speed"
    assert pd.read_csv("speed.csv")["model"].tolist() == [name.strip() for name in MODELS.split(",")]
    assert json.loads(Path("speed.csv.json").read_text())["batch_size"] == 2

    run("plot", "--kind", "speed", "speed.csv", "-o", "again.png")
    assert drawn("again.png")["table"] == drawn("out/speed.png")["table"]


def test_with_runs_it_is_a_tradeoff(run) -> None:
    make_run("plain", 60, seed=0)
    for seed in (2, 10):
        make_run(f"asr/seed-{seed}", 60 + seed, seed=seed, asr={"attention": "se"})
    result = run(
        *("bench", "--models", MODELS, *QUICK, "--runs", "plain", "--runs", "asr"),
        *("--format", "json", "-o", "a.png", "-o", "a.csv"),
    )
    plain, se, asr = json.loads(result.stdout)
    assert plain["parameters"] == asr["parameters"]
    assert plain["num_classes"] == 4  # the runs'
    assert [row["accuracy"] for row in (plain, se, asr)] == [60, None, 66]
    assert asr["runs"] == 2
    assert asr["accuracy_of"][0] == "shapes"
    assert drawn("a.png")["kind"] == "tradeoff"

    run("plot", "--kind", "tradeoff", "a.csv", "-o", "b.png")
    assert drawn("b.png")["table"]["accuracy"] == [60, 66]
    shown = run("bench", "--models", MODELS, *QUICK, "--runs", "plain").stdout
    assert "best (%)" in shown
    assert "by that split itself · 1 epoch" in shown.replace("\n", " ")


def test_runs_beside_a_table(run) -> None:
    make_run("plain", 60)
    run("bench", "--models", "resnet11", *QUICK, "-o", "a.csv")
    assert "has no accuracies" in run("plot", "--kind", "tradeoff", "a.csv", code=1).stderr
    run("plot", "--kind", "tradeoff", "a.csv", "plain")
    assert drawn("a-tradeoff.png")["table"]["accuracy"] == [60]
    assert "no run" in run("plot", "--kind", "tradeoff", "a.csv", ".", code=1).stderr


def test_curves_of_runs(run) -> None:
    make_run("plain", 60, seed=0)
    make_run("se/seed-1", 70, seed=1, attention="se")
    make_run("se/seed-0", 80, seed=0, attention="se")
    result = run("plot", "--kind", "training", "plain", "se", "-o", "curves.png")
    assert result.stdout == "curves.png\n"
    assert drawn("curves.png")["runs"] == {"resnet11": ["plain"], "resnet11+se": ["se/seed-0", "se/seed-1"]}
    assert run("plot", "--kind", "training", "plain").stdout == "plain-training.png\n"
    assert "has no sites to choose" in run("plot", "--kind", "training", "plain", "--sites", "x", code=1).stderr
    assert "The run in se/seed-0 has no capture" in run("plot", "--kind", "diff", "se", code=1).stderr
    for seed in "01":
        Path(f"se/seed-{seed}/capture.h5").touch()
    assert "draws one capture, and here are 2" in run("plot", "--kind", "diff", "se", code=1).stderr
    assert "The run in plain has no capture" in run("plot", "--kind", "diff", "plain", code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet11", "-o", "a.txt"], "a.txt: end a table in .csv, .parquet, .json, a picture in .png, .pdf or .svg"),
        ([" , "], "no network is named"),
        (["resnet11+asr"], "'asr' is none of"),
        (["resnet11, resnet11+resnet20"], "'resnet11+resnet20': 'resnet20' is none of +se, +eca"),
        (
            ["resnet11 resnet20"],
            "'resnet11 resnet20' is more than one network; write --models \"resnet11, resnet11+se\"",
        ),
        (["resnet11 + se resnet20"], "'resnet11 + se resnet20' is more than one network"),
        (["resnet11+asr(se);resnet20"], "'resnet11+asr(se);resnet20' is more than one network"),
        (["resnet11, resnet11x"], "unknown model 'resnet11x'"),
        (["resnet11", "--runs", "."], "is no run"),
    ],
)
def test_mistakes_are_one_sentence(run, arguments: list[str], message: str) -> None:
    result = run("bench", "--models", *arguments, code=1)
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr


def test_a_list_without_quotes(run) -> None:
    for names in (["resnet11,", "resnet11+se"], ["resnet11", "resnet11+se"]):
        message = "'resnet11+se' belongs to no option. Networks are one list: --models \"resnet11, resnet11+se\""
        assert message in run("bench", "--models", *names, *QUICK, code=2).stderr


def test_lists_add_up(run) -> None:
    shown = run("bench", "--models", "resnet11", "--models", "resnet11 + se", *QUICK, "--format", "json").stdout
    assert [row["model"] for row in json.loads(shown)] == ["resnet11", "resnet11+se"]


def test_a_file_with_a_blank_in_its_name_is_one_network(run) -> None:
    Path("my net.pth").write_bytes(b"damaged")
    for names in ("my net.pth", "my net.pth+fused"):
        assert "more than one" not in run("bench", "--models", names, *QUICK, code=1).stderr
