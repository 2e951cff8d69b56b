import json
from pathlib import Path

import pytest

from stripe.errors import StripeError
from stripe.training import EpochMetrics, Run

SETTINGS = {"model": "resnet11", "recipe": {"lr": 0.1, "milestones": (6, 9)}, "seed": 0}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runs" / "one")


def claim(run: Run, scale: str = "3 epochs", **changes):
    return run.claim({**SETTINGS, **changes}, {"device": "cpu"}, scale=scale)


def test_a_run_says_what_it_is_made_from(run):
    with claim(run):
        pass
    assert run.settings == {"model": "resnet11", "recipe": {"lr": 0.1, "milestones": [6, 9]}, "seed": 0}
    assert run.scale == "3 epochs"
    assert json.loads((run.path / "run.json").read_text())["sessions"] == [{"device": "cpu"}]


def test_the_same_settings_go_on_with_a_run(run):
    for scale in ("3 epochs", "3 epochs, in other words"):
        with claim(run, scale):
            run.state_file.touch()
    assert run.scale == "3 epochs"
    assert len(json.loads((run.path / "run.json").read_text())["sessions"]) == 2


def test_other_settings_are_refused_and_named(run):
    with claim(run):
        run.state_file.touch()
    before = (run.path / "run.json").read_bytes()
    with pytest.raises(StripeError) as caught, claim(run, seed=1, recipe={"lr": 0.2, "milestones": [6, 9]}):
        pass
    assert "seed is 0 there and 1 here" in str(caught.value)
    assert "recipe.lr is 0.1 there and 0.2 here" in str(caught.value)
    assert "model" not in str(caught.value)
    assert (run.path / "run.json").read_bytes() == before


def test_a_run_that_finished_no_epoch_may_begin_anew_with_other_settings(run):
    with claim(run):
        run.capture_file.touch()
    with claim(run, seed=1):
        assert run.settings["seed"] == 1
        assert not run.capture_file.exists()


def test_checkpoints_are_never_thrown_away(run):
    """Not even where somebody has deleted the state that belongs to them."""
    with claim(run):
        run.checkpoint(1).parent.mkdir()
        run.checkpoint(1).touch()
    with pytest.raises(StripeError, match="seed is 0 there and 1 here"), claim(run, seed=1):
        pass
    assert run.checkpoints


def test_two_trainings_in_one_directory_are_refused(run):
    with claim(run):
        with pytest.raises(StripeError, match="Another training is under way"), claim(Run(run.path)):
            pass
        assert run.settings["seed"] == 0
    with claim(run):  # free again
        pass


def test_an_error_within_frees_the_directory(run):
    with pytest.raises(KeyboardInterrupt), claim(run):
        raise KeyboardInterrupt
    with claim(run):
        pass


def test_a_folder_that_holds_something_else_is_left_alone(run):
    run.path.mkdir(parents=True)
    (run.path / "thesis.tex").touch()
    with pytest.raises(StripeError, match=r"is no run: it holds thesis\.tex"), claim(run):
        pass
    assert not (run.path / "run.json").exists()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StripeError, match="cannot be used as a folder"), claim(Run(tmp_path / "file")):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "something else"}', b"\xff\xfe"])
def test_a_damaged_description(run, content):
    run.path.mkdir(parents=True)
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(StripeError, match=r"run\.json"), claim(run):
        pass
    with pytest.raises(StripeError, match=r"run\.json"):
        _ = run.settings


def test_no_run_at_all(run):
    with pytest.raises(StripeError, match="is no run"):
        _ = run.settings


def test_metrics_keep_every_digit(run):
    history = [
        EpochMetrics(1, 0.1, 1 / 3, 10.0, 2.5, 1e-17, 3.25, 100.0, 0.7, 50.0),
        EpochMetrics(2, 0.1 * 0.1, *[0.1] * 8),
    ]
    with claim(run):
        assert run.metrics.empty
        run.write_metrics(history)
    assert run.metrics_file.read_text().splitlines()[0] == (
        "epoch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second,"
        "val_loss,val_accuracy"
    )
    assert [tuple(row) for row in run.metrics.itertuples(index=False)] == [tuple(row) for row in history]
    assert run.history == history


def test_checkpoints_are_in_the_order_of_epochs(run):
    run.checkpoint(1).parent.mkdir(parents=True)
    for epoch in (10, 2, 1):
        run.checkpoint(epoch).touch()
    run.checkpoint(3).with_suffix(".safetensors.tmp").touch()  # left by a process that was killed
    assert run.checkpoints == [run.checkpoint(1), run.checkpoint(2), run.checkpoint(10)]
    assert run.checkpoint(1).name == "epoch-0001.safetensors"


def metrics(epoch, test, val):
    return EpochMetrics(epoch, 0.1, 1.0, 50.0, 1.0, test, 1.0, 100.0, 1.0, val)


@pytest.mark.parametrize(("select", "epoch"), [("val", 2), ("test", 1)])
def test_the_best_epoch_is_the_first_of_the_highest_selected_accuracy(run, select, epoch):
    with claim(run, select=select):
        with pytest.raises(StripeError, match="no epoch has ended"):
            _ = run.best
        run.write_metrics([metrics(1, 60.0, 40.0), metrics(2, 50.0, 45.0), metrics(3, 60.0, 45.0)])
    assert run.best.epoch == epoch
