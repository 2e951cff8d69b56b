import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner, Result

from stripe.capture import open_capture
from stripe.cli import main
from stripe.training import Run

TINY = [
    "--data",
    "shapes:train=20,test=12",
    "--image-size",
    "16",
    "--model",
    "resnet11",
    "--batch-size",
    "10",
    "--device",
    "cpu",
]


def stripe_train(*args) -> Result:
    return CliRunner().invoke(main, ["train", *TINY, *map(str, args)])


def test_trains_captures_and_says_what_comes_next(tmp_path):
    out = tmp_path / "run"
    result = stripe_train("--attention", "se", "--epochs", 2, "--capture", 4, "--save-every", 0, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"Next: stripe plot --kind diff {out}/capture.h5" in result.stdout
    assert "2 epochs of all 18 training images (2 held out) at 16 px" in result.stdout
    assert [line.split()[1] for line in result.stderr.splitlines() if line.startswith("epoch")] == ["1/2", "2/2"]
    run = Run(out)
    assert run.checkpoints == [run.checkpoint(2)]
    best = run.metrics.loc[run.metrics.val_accuracy.idxmax()]
    assert f"best {best.test_accuracy:.2f} % (epoch {best.epoch:.0f}, chosen by 2 held-out" in result.stdout

    again = stripe_train("--attention", "se", "--epochs", 2, "--capture", 4, "--save-every", 0, "--out", out)
    assert again.exit_code == 0
    assert again.stdout == result.stdout
    assert "epoch 1" not in again.stderr


def test_options_reach_the_recipe(tmp_path):
    options = ["--lr", 0.05, "--weight-decay", 0, "--schedule", "cosine", "--seed", 3, "--images-per-epoch", 10]
    result = stripe_train("--epochs", 2, "--out", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    settings = Run(tmp_path / "run").settings
    recipe = settings["recipe"]
    assert (recipe["lr"], recipe["weight_decay"], recipe["schedule"], recipe["batch_size"]) == (0.05, 0, "cosine", 10)
    assert (settings["seed"], settings["images_per_epoch"]) == (3, 10)
    assert list(Run(tmp_path / "run").metrics.learning_rate) == pytest.approx([0.05, 0.025])
    assert f"Next: stripe evaluate --ckpt {tmp_path}/run/best.safetensors" in result.stdout


def test_an_error_is_a_sentence(tmp_path):
    result = stripe_train("--capture", 4, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert (
        result.stderr == "Error: resnet11 without attention has none to capture: give --attention se, or --capture 0.\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--epochs", 0],
        ["--lr", 0],
        ["--schedule", "linear"],
        ["--seed", -1],
        ["--seeds", 0],
        ["--mode", "all"],
        ["--noise", "0.8"],
        ["--ema", 1],
        ["--accumulate", 0],
    ],
)
def test_values_that_cannot_be_are_refused_before_anything_is_done(tmp_path, wrong):
    assert stripe_train(*wrong, "--out", tmp_path / "run").exit_code == 2
    assert not (tmp_path / "run").exists()


def test_options_of_asr_and_noise_reach_the_run(tmp_path):
    options = ["--mode", "asr", "--attention", "eca", "--where", "layer3*.bn3", "--copies", 2, "--psi", "N0.3"]
    more = ["--psi-fixed", "--noise", "0.8,0.5", "--noise-random", 0.1, "--accumulate", 2, "--ema", 0.9]
    result = stripe_train("--epochs", 1, "--select", "test", "--out", tmp_path / "run", *options, *more)
    assert result.exit_code == 0, result.output
    settings = Run(tmp_path / "run").settings
    asr = {"attention": "eca", "where": "layer3*.bn3", "psi": "N0.3", "learnable": False, "copies": 2}
    assert (settings["mode"], settings["attention"], settings["asr"]) == ("asr", "none", asr)
    assert settings["noise"] == {"factor": 0.8, "offset": 0.5, "std": 0.1}
    assert (settings["accumulate"], settings["ema"], settings["select"]) == (2, 0.9, "test")
    assert "chosen on the test split itself" in result.stdout
    assert f"Next: stripe fuse --ckpt {tmp_path}/run/best.safetensors" in result.stdout
    assert "val" not in result.stderr


def test_a_run_goes_through_capture_evaluation_and_fusing(tmp_path):
    """What the commands say comes next works, and the accuracy is the run's to the last digit."""
    call = lambda *args: CliRunner().invoke(main, list(map(str, args)))  # noqa: E731
    out = tmp_path / "run"
    assert stripe_train("--mode", "both", "--attention", "eca", "--epochs", 2, "--out", out).exit_code == 0
    captured = call("capture", "--ckpt", out / "checkpoints", "--images", 4, "-o", tmp_path / "capture.h5")
    assert captured.exit_code == 0, captured.output
    with open_capture(tmp_path / "capture.h5") as capture:
        assert list(capture.epoch.values) == [1, 2]

    last, fused = Run(out).checkpoint(2), tmp_path / "fused.safetensors"
    assert call("fuse", "--ckpt", last, "-o", fused).exit_code == 0
    for path in (last, fused):
        found = json.loads(call("evaluate", "--ckpt", path, "--format", "json", "--batch-size", 10).stdout)
        assert found["top1"] == Run(out).metrics.test_accuracy.iloc[-1]
        assert found["loss"] == Run(out).metrics.test_loss.iloc[-1]


def test_several_seeds(tmp_path):
    result = stripe_train("--epochs", 1, "--seeds", 2, "--seed", 5, "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "runs" / "seeds.json").read_text())
    assert [run["seed"] for run in summary["runs"]] == [5, 6]
    assert f"{summary['last']['mean']:.2f} ± {summary['last']['std']:.2f}" in result.stdout
    assert "mean ± std" in result.stdout
    assert [line for line in result.stderr.splitlines() if line.startswith("seed")] == ["seed 5", "seed 6"]
    assert len(Run(tmp_path / "runs" / "seed-6").metrics) == 1


def test_recipes_are_printed_and_overridden(tmp_path):
    listed = CliRunner().invoke(main, ["train", "--recipe"])
    assert listed.exit_code == 0, listed.output
    assert "vit-384" in listed.stdout
    assert "×0.2 at 60/120/160" in listed.stdout

    options = ["--epochs", 1, "--lr", 0.02, "--label-smoothing", 0.1]
    result = stripe_train("--recipe", "vgg19", *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert (
        "recipe vgg19: 1 epoch, batches of 10, sgd, lr 0.02 ×0.2 at 1, momentum 0.9, weight decay 0.0005, "
        "label smoothing 0.1" in result.stderr
    )
    recipe = Run(tmp_path / "run").settings["recipe"]
    assert (recipe["lr"], recipe["gamma"], recipe["weight_decay"], recipe["label_smoothing"]) == (0.02, 0.2, 5e-4, 0.1)


def test_the_recipe_is_that_of_the_model_and_steps_can_be_had_where_it_has_none(tmp_path):
    options = ["--model", "resnet20-acnet", "--epochs", 2, "--images-per-epoch", 10]
    for name, schedule, rates in (("own", [], [0.1, 0.05]), ("steps", ["--schedule", "step"], [0.1, 0.01])):
        result = stripe_train(*options, *schedule, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert list(Run(tmp_path / name).metrics.learning_rate) == pytest.approx(rates)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--recipe", "cake"], "There is no recipe 'cake'; there are resnet, vgg19"),
        (["--copies", 2], "copies: a setting of ASR"),
        (["--mode", "asr", "--psi", "much"], "psi is 'much'"),
        (["--mode", "asr", "--where", "nowhere"], "nowhere"),
    ],
)
def test_settings_that_make_no_sense_are_a_sentence(tmp_path, wrong, message):
    result = stripe_train(*wrong, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.slow
def test_ctrl_c_leaves_a_run_to_go_on_with(tmp_path):
    """A real SIGINT after the first line of a real process."""
    out = tmp_path / "run"
    options = ["--epochs", "5000", "--save-every", "0", "--out", str(out)]
    command = [sys.executable, "-m", "stripe", "train", *TINY, *options]
    # What a shell does for a job in the foreground; a runner in the background may have it ignored.
    restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=restore) as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert first.startswith("epoch    1/5000"), rest
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert "to go on:\n  " in rest
    assert f"--out {out}" in rest
    run = Run(out)
    done = len(run.metrics)
    assert 1 <= done < 5000
    assert torch.load(run.state_file, weights_only=True)["history"][0][0] == 1
    assert not list(out.glob(".*.tmp"))
