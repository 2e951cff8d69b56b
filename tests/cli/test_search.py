import statistics
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stripe.analysis import search_controls
from stripe.cli import main
from stripe.tasks import structure
from stripe.training import Run

DATA = ["--data", "shapes:train=20,test=12", "--image-size", "16", "--model", "resnet11", "--batch-size", "10"]
DATA += ["--device", "cpu"]


def stripe(command: str, *args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [command, *DATA, *map(str, args)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("search") / "run"
    options = ["--attention", "mvam", "--kernel", 3, "--epochs", 2, "--alpha-lr", 0.5, "--penalty-ratios", "4,1,3,3,3"]
    return out, stripe("search", *options, "--out", out)


def test_a_search_prints_the_weights_and_what_it_chose(searched: tuple[Path, Result]) -> None:
    out, result = searched
    found = structure.read(out)
    assert found["epoch"].values.tolist() == [1, 2]
    assert found.attrs == {"family": "mvam", "kernel_size": 3, "attention": "ssmvam,k=3"}
    rows = [line for line in result.stdout.splitlines() if "layer" in line]
    assert len(rows) == 3
    for row, weights in zip(rows, found["weight"].isel(epoch=-1).values, strict=True):
        assert f"{weights[1]:.4g}" in row
        assert structure.LABELS[structure.choose(weights)] in row
    data, size = Run(out).settings["data"], Run(out).settings["image_size"]
    assert f"stripe train --model resnet11 --attention {out} --data {data} --image-size {size} --out …" in result.stdout
    open_ = [choice for choice in structure.decisions(found).values() if choice == structure.UNDECIDED]
    assert result.stdout.count("undecided") == len(open_)
    assert [line.split()[1] for line in result.stderr.splitlines() if line.startswith("epoch")] == ["1/2", "2/2"]
    settings = Run(out).settings
    assert settings["attention"] == "ssmvam,k=3"
    assert settings["task"]["options"] == {
        "penalty": 0.1,
        "penalty_power": 1.1,
        "penalty_ratios": [4, 1, 3, 3, 3],
        "alpha_lr": 0.5,
    }


def test_what_was_found_is_trained_by_the_name_of_the_folder(searched: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = searched
    stripe("train", "--attention", out, "--epochs", 1, "--out", tmp_path / "found")
    attention = Run(tmp_path / "found").settings["attention"]
    assert attention == structure.attention_of(structure.read(out))
    assert str(out) not in (tmp_path / "found" / "run.json").read_text().partition('"sessions"')[0]
    # The list alone is the same run.
    again = stripe("train", "--attention", attention, "--epochs", 1, "--out", tmp_path / "found")
    assert "epoch 1/1" not in again.stderr


def test_a_search_that_has_not_ended_has_found_nothing(searched: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = searched
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes((out / "run.json").read_bytes())
    structure.read(out).isel(epoch=[0]).to_netcdf(tmp_path / "run" / structure.FILE, engine="h5netcdf")
    result = stripe("train", "--attention", tmp_path / "run", "--out", tmp_path / "found", code=1)
    assert "has finished 1 of 2 epochs; go on with it first" in result.stderr
    (tmp_path / "run" / structure.FILE).unlink()
    result = stripe("train", "--attention", tmp_path / "run", "--out", tmp_path / "found", code=1)
    assert "holds no structure search that has finished an epoch" in result.stderr
    result = stripe("train", "--attention", tmp_path, "--out", tmp_path / "found", code=1)
    assert "is no run" in result.stderr


def test_a_folder_does_not_take_the_place_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "se").mkdir()
    stripe("train", "--attention", "se", "--epochs", 1, "--out", tmp_path / "run")
    assert Run(tmp_path / "run").settings["attention"] == "se"


def test_seeds_and_controls(tmp_path: Path) -> None:
    command = ["--epochs", 1, "--seeds", 2, "--control", 1, "--out", tmp_path / "run"]
    result = stripe("search", *command)
    searches = [structure.read(tmp_path / "run" / f"seed-{seed}") for seed in (0, 1)]
    for name, (choice, count) in structure.agreement(searches).items():
        row = next(line for line in result.stdout.splitlines() if name.removesuffix(".attention_module") in line)
        assert (choice, count) == (structure.UNDECIDED, 0)  # in two steps of .003
        assert row.count("undecided (CA, SA)") == 2
        assert "0 of 2" in row
    folder = tmp_path / "run" / "seed-0" / "control"
    assert {"found", "random-1", "all-identity"} <= {path.name for path in folder.iterdir()}
    assert "6 of 6 choices are undecided: none leads by 0.1" in result.stderr
    assert "All 2 seeds decided the same in 0 of 3 blocks" in result.stdout
    for line, runs in {"found by the search": 2, "at random": 2, "SA→CA in all blocks": 2}.items():
        row = next(row for row in result.stdout.splitlines() if line in row)
        assert row.split("│")[2].strip() == str(runs)
    trained = [Run(tmp_path / "run" / f"seed-{seed}" / "control" / "random-1") for seed in (0, 1)]
    assert [run.settings["seed"] for run in trained] == [0, 1]
    assert trained[0].settings["attention"] == structure.controls(searches[0], 1, seed=0)["random-1"][1]
    assert "task" not in trained[0].settings
    scores = [run.history[-1].test_accuracy for run in trained]
    assert trained[0].scoring.spread(scores) in next(row for row in result.stdout.splitlines() if "at random" in row)

    table = search_controls.read({tmp_path / "run" / f"seed-{seed}": seed for seed in (0, 1)})
    assert table[table["name"] == "random-1"]["last"].tolist() == scores
    assert len(table) == 2 * 8
    found = table[table["name"] == "found"]["last"].mean()
    difference = f"{statistics.fmean(scores) - found:+.2f}".replace("-", "−")
    assert f" {difference} (" in next(row for row in result.stdout.splitlines() if "at random" in row)

    (tmp_path / "run" / search_controls.FILE).unlink()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("state.pt")}
    assert stripe("search", *command).stdout == result.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("state.pt")} == written
    assert (tmp_path / "run" / search_controls.FILE).exists()  # read again, without training

    several = stripe("train", "--attention", tmp_path / "run", "--out", tmp_path / "found", code=1)
    assert "holds 2 searches, each with a choice of its own: name one, as" in several.stderr


def test_options_that_are_wrong_are_named(tmp_path: Path) -> None:
    result = stripe("search", "--penalty-ratios", "1,2", "--out", tmp_path / "run", code=1)
    assert "--penalty-ratios is 1,2; five numbers" in result.stderr.replace("penalty_ratios", "--penalty-ratios")
    result = stripe("search", "--penalty", -1, "--out", tmp_path / "run", code=2)
    assert "--penalty" in result.stderr
    result = stripe("train", "--penalty", 1, "--out", tmp_path / "run", code=1)
    assert "--penalty is an option of the task search" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_network_of_another_task(tmp_path: Path) -> None:
    result = stripe("search", "--model", "maskrcnn:resnet11", "--out", tmp_path / "run", code=1)
    assert "maskrcnn:resnet11 is a network for detection" in result.stderr
    assert not (tmp_path / "run").exists()
