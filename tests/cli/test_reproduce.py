import json
import os
import signal
import subprocess
import sys

import pytest

from stripe.training import Run
from tests.reproduce.conftest import FIGURE, RECIPE

TINY = ["--epochs", "2", "--images-per-epoch", "8", "--device", "cpu"]


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "picture.toml").write_text(FIGURE)
    (tmp_path / "mine.toml").write_text(RECIPE)


def test_list(run):
    output = run("reproduce", "list").output
    assert "fig30" in output
    assert "asr: Stripe Observation" in output
    assert "spsa/table1" in output
    assert output.index("table14") < output.index("search/table1") < output.index("spsa/fig3")


def test_a_recipe_of_one_s_own_is_drawn_and_drawn_again(run, mine, tmp_path):
    result = run("reproduce", "picture.toml", "--out", "out", *TINY)
    assert result.stdout == "out/picture/picture.png\n"
    assert "1 of 1 runs are to be trained" in result.stderr
    assert "epoch 2 of 2" in result.stderr
    again = run("reproduce", "picture.toml", "--out", "out", *TINY)
    assert again.stdout == result.stdout
    assert again.stderr == ""
    made_by = json.loads((tmp_path / "out" / "picture" / "provenance.json").read_text())
    assert made_by["command"]


def test_dry_run_says_what_would_be_done_and_does_nothing(run, mine, tmp_path):
    output = run("reproduce", "mine.toml", "picture.toml", "--dry-run", "--jobs", "2", *TINY).output
    assert "5 of 5 runs to train: about" in output
    assert "2 side by side" in output
    assert output.count("missing") == 5
    assert not (tmp_path / "reproduction").exists()


def test_dry_run_without_the_data(run, tmp_path):
    output = run(
        "reproduce", "fig12", "--scale", "paper", "--dry-run", "--data-root", ".", "--model", "resnet11"
    ).output
    assert "no data" in output
    assert "cifar100 was not found" in output


def test_not_yet(run, tmp_path):
    (tmp_path / "later.toml").write_text('title = "x"\nsource = "x"\nclaim = "x"\nmissing = "Nobody has it."\n')
    result = run("reproduce", "later.toml")
    assert "later: not yet. Nobody has it." in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fig31"], "There is no recipe 'fig31'; did you mean fig"),
        (["spsa/table9"], "There is no recipe 'spsa/table9'; did you mean spsa/table"),
        (["none.toml"], "none.toml cannot be read: No such file or directory"),
        (["bad.toml"], "bad.toml: unknown key 'titel'; did you mean title?"),
        (["fig12", "--data", "folder:nowhere"], "There is no folder"),
        (["fig12", "--data", "cifar1"], "There is no data set 'cifar1'"),
        (["table3", "--model", "resnet11"], "table3 compares"),
    ],
)
def test_errors_are_a_sentence(run, tmp_path, args, message):
    (tmp_path / "bad.toml").write_text('titel = "x"\n')
    result = run("reproduce", *args, code=1)
    assert message in result.stderr
    assert not (tmp_path / "reproduction").exists()


def test_a_folder_that_cannot_be_written(run, mine, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = run("reproduce", "picture.toml", "--out", "file/out", *TINY, code=1)
    assert "file/out/runs cannot be used as a folder: Not a directory" in result.stderr


def test_data_that_is_not_there_is_said_of_each_figure(run, tmp_path):
    result = run("reproduce", "fig12", "--scale", "paper", "--data-root", ".", code=1)
    assert "fig12: its run resnet83-se-cifar100-" in result.stderr
    assert "cifar100 was not found" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(mine, tmp_path):
    """In a real process, that has started another one; both import torch, which takes 5 to 10 s."""
    command = [sys.executable, "-m", "stripe", "reproduce", "picture.toml", "--epochs", "5000"]
    options = ["--images-per-epoch", "8", "--device", "cpu", "--jobs", "2"]
    restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    with subprocess.Popen(
        [*command, *options], stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=restore
    ) as process:
        lines = [process.stderr.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert "epoch 1 of 5000" in lines[1], rest
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert "to go on:\n  " in rest
    (path,) = (tmp_path / "reproduction" / "runs").glob("resnet11-*")
    assert len(Run(path).metrics) >= 1
