import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from stripe import checkpoint
from stripe.capture import as_capture, open_capture
from stripe.data import choose_images
from stripe.errors import StripeError
from stripe.models import from_meta
from stripe.tasks import base
from stripe.training import EpochMetrics, Run, loop, train


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_data, tiny_recipe) -> Run:
    """Three epochs of a small network with SE, five images captured."""
    out = tmp_path_factory.mktemp("runs") / "se"
    return train(out, tiny_data, model="resnet11", attention="se", recipe=tiny_recipe, capture=5, device="cpu")


def test_metrics_have_a_row_an_epoch(run):
    metrics = run.metrics
    assert list(metrics.epoch) == [1, 2, 3]
    np.testing.assert_allclose(metrics.learning_rate, [0.1, 0.01, 0.001])
    assert metrics.notna().all(axis=None)
    assert (metrics[["train_loss", "test_loss", "seconds", "images_per_second"]] > 0).all(axis=None)


def test_checkpoints_rebuild_the_network_that_was_scored(run, tiny_data):
    """The last checkpoint, loaded by name, gives the last row's test loss (by numpy)."""
    saved = checkpoint.read(run.checkpoints[-1])
    model = from_meta(saved.meta).eval()
    checkpoint.load_into(model, saved)
    images, labels = next(iter(tiny_data.test.loader(12)))
    with torch.inference_mode():
        logits = model(tiny_data.normalize(images)).double().numpy()
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(12), labels]
    last = run.metrics.iloc[-1]
    assert losses.mean() == pytest.approx(last.test_loss, rel=1e-5)
    assert 100 * (logits.argmax(1) == labels.numpy()).mean() == pytest.approx(last.test_accuracy)
    assert (saved.epoch, saved.meta["learning_rate"]) == (3, pytest.approx(0.001))
    assert saved.meta["data"] == tiny_data.spec


def test_the_capture_holds_every_epoch_as_the_checkpoints_have_it(run, tiny_data):
    chosen = choose_images(tiny_data.test.labels, 5, 0)
    images, labels = next(iter(tiny_data.test.loader(5, indices=chosen)))
    with open_capture(run.capture_file) as capture:
        assert list(capture.epoch.values) == [1, 2, 3]
        np.testing.assert_allclose(capture.learning_rate, run.metrics.learning_rate)
        np.testing.assert_array_equal(capture.label, labels)
        assert list(capture["path"].values) == [tiny_data.test.paths[index] for index in chosen]
        assert capture.attrs["scale"] == run.scale
        site = "layer2.0.attention_module"
        for path in run.checkpoints:
            saved = checkpoint.read(path)
            model = from_meta(saved.meta).eval()
            checkpoint.load_into(model, saved)
            gates = []
            module = model.get_submodule(site)
            module.register_forward_hook(lambda m, args, _, gates=gates: gates.append(m.gate(args[0])))
            with torch.inference_mode():
                model(tiny_data.normalize(images))
            recorded = capture[f"sites/{site}"].attention.sel(epoch=saved.epoch)
            np.testing.assert_allclose(recorded, gates[0].flatten(1), atol=1e-5)


def test_a_finished_run_is_returned_as_it_is(run, tiny_data, tiny_recipe, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*.*") if path.name != "run.json"}
    monkeypatch.setattr(loop, "train_epoch", None)
    again = train(run.path, tiny_data, model="resnet11", attention="se", recipe=tiny_recipe, capture=5, device="cpu")
    assert again == run
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_settings_are_refused(run, tiny_data, tiny_recipe):
    with pytest.raises(StripeError, match='attention is "se" there and "eca" here'):
        train(run.path, tiny_data, model="resnet11", attention="eca", recipe=tiny_recipe, capture=5)
    recipe = replace(tiny_recipe, weight_decay=0.5)
    with pytest.raises(StripeError, match=r"recipe\.weight_decay"):
        train(run.path, tiny_data, model="resnet11", attention="se", recipe=recipe, capture=5)


def test_run_json_says_what_made_it(run):
    record = json.loads((run.path / "run.json").read_text())
    assert record["settings"]["data_center_bias"] == 0.7
    assert record["settings"]["recipe"]["milestones"] == [1, 2]
    assert record["scale"] == (
        "3 epochs of all 18 training images (2 held out) at 16 px (its recipe: 164 epochs of all images)"
    )
    assert record["sessions"][0].items() >= {"device": "cpu", "dtype": "float32"}.items()
    assert {"stripe", "torch", "created", "command", "threads"} <= record["sessions"][0].keys()


@pytest.mark.parametrize(("save_every", "kept"), [(0, [3]), (1, [1, 2, 3]), (2, [2, 3]), (5, [3])])
def test_the_last_checkpoint_is_always_kept(tmp_path, tiny_data, tiny_recipe, save_every, kept):
    run = train(tmp_path / "run", tiny_data, model="resnet11", recipe=tiny_recipe, save_every=save_every)
    assert run.checkpoints == [run.checkpoint(epoch) for epoch in kept]
    assert not run.capture_file.exists()


def test_the_seed_decides(tmp_path, tiny_data, tiny_recipe):
    runs = [
        train(tmp_path / name, tiny_data, model="resnet11", recipe=tiny_recipe.scaled(1), seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    torch.rand(7)  # what others draw has no influence
    losses = [run.metrics.train_loss.item() for run in runs]
    assert losses[0] == losses[1] != losses[2]


def test_images_per_epoch_are_those_images_and_said_so(tmp_path, tiny_data, tiny_recipe, monkeypatch):
    seen = []
    original = base.train_batches

    def watched(*args, **kwargs):
        batches = original(*args, **kwargs)
        seen.append(batches.num_images)
        return batches

    monkeypatch.setattr(base, "train_batches", watched)
    settings = {"model": "resnet11", "select": "test"}
    some = train(tmp_path / "some", tiny_data, recipe=tiny_recipe.scaled(1), images_per_epoch=8, **settings)
    whole = replace(tiny_recipe, epochs=1, milestones=(), full_epochs=None)
    everything = train(tmp_path / "all", tiny_data, recipe=whole, images_per_epoch=1000, **settings)
    assert seen == [8, 20]
    assert some.scale == "1 epoch of 8 of 20 training images at 16 px (its recipe: 3 epochs of all images)"
    assert everything.scale == "1 epoch of all 20 training images at 16 px"


def test_divergence_stops_and_keeps_what_was_good(tmp_path, tiny_data, tiny_recipe, monkeypatch):
    original = loop.Recipe.learning_rate
    monkeypatch.setattr(loop.Recipe, "learning_rate", lambda self, epoch: original(self, epoch) if epoch == 1 else 1e30)
    with pytest.raises(StripeError, match=r"(epoch 2.*diverged.*lr=)"):
        train(tmp_path / "run", tiny_data, model="resnet11", recipe=tiny_recipe)
    run = Run(tmp_path / "run")
    assert list(run.metrics.epoch) == [1]
    assert run.checkpoints == [run.checkpoint(1)]
    assert all(value.isfinite().all() for value in checkpoint.read(run.checkpoint(1)).state_dict.values())


def test_an_interrupted_run_goes_on(tmp_path, tiny_data, tiny_recipe, run):
    def interrupt(metrics: EpochMetrics) -> None:
        raise KeyboardInterrupt

    settings = {"model": "resnet11", "attention": "se", "recipe": tiny_recipe, "capture": 5, "device": "cpu"}
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", tiny_data, on_epoch=interrupt, **settings)
    told = []
    again = train(tmp_path / "run", tiny_data, on_epoch=told.append, **settings)
    assert [metrics.epoch for metrics in told] == [3]
    assert list(again.metrics.test_loss) == list(run.metrics.test_loss)
    assert len(json.loads((again.path / "run.json").read_text())["sessions"]) == 3


def test_a_capture_that_was_deleted_is_missed(tmp_path, tiny_data, tiny_recipe, caplog):
    def interrupt(metrics: EpochMetrics) -> None:
        raise KeyboardInterrupt

    settings = {"model": "resnet11", "attention": "se", "recipe": tiny_recipe.scaled(2), "capture": 5}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", tiny_data, on_epoch=interrupt, **settings)
    Run(tmp_path / "run").capture_file.unlink()
    run = train(tmp_path / "run", tiny_data, **settings)
    assert "no longer holds the epochs [1]" in caplog.text
    with open_capture(run.capture_file) as capture:
        assert list(capture.epoch.values) == [2]


def test_a_network_of_somebody_else(tmp_path, tiny_recipe):
    """A site that the model has of its own, at 32 px, and dropout, which draws from torch's generator."""
    from stripe.data import load

    data = load("shapes:train=10,test=10")
    run = train(
        tmp_path / "run",
        data,
        model="torchvision:mobilenet_v3_small",
        args={"dropout": 0.5},
        recipe=tiny_recipe.scaled(1),
        capture=2,
    )
    with open_capture(run.capture_file) as capture:
        assert "features.1.block.1" in capture["sites"].children
    assert checkpoint.read(run.checkpoints[0]).meta["args"] == {"dropout": 0.5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"capture": 4}, "give attention='se'"),
        ({"attention": "se", "capture": 13}, "13 images"),
        ({"model": "torchvision:resnet18", "capture": 4}, "no attention site"),
        ({"model": "resnet12"}, "resnet11"),
        ({"num_classes": 3}, "3 classes apart, but the data has 10"),
        ({"device": "nonsense"}, "no device"),
        ({"images_per_epoch": 0}, "at least 1"),
        ({"model": "torchvision:resnet18", "args": {"x": object()}}, "must be numbers"),
    ],
)
def test_bad_requests_are_said_and_the_folder_stays_usable(tmp_path, tiny_data, tiny_recipe, arguments, message):
    recipe = tiny_recipe.scaled(1)
    with pytest.raises(StripeError, match=message):
        train(tmp_path / "run", tiny_data, recipe=recipe, **{"model": "resnet11", **arguments})
    train(tmp_path / "run", tiny_data, model="resnet11", recipe=recipe)


def test_in_bfloat16_parameters_and_checkpoints_stay_float32(tmp_path, tiny_data, tiny_recipe):
    recipe = tiny_recipe.scaled(1)
    run = train(
        tmp_path / "run", tiny_data, model="resnet11", attention="se", recipe=recipe, capture=2, precision="bfloat16"
    )
    state = checkpoint.read(run.checkpoints[0]).state_dict
    assert all(value.dtype == torch.float32 for value in state.values() if value.is_floating_point())
    assert run.settings["precision"] == "bfloat16"


@pytest.mark.cuda
def test_on_a_gpu(tmp_path, tiny_data, tiny_recipe):
    run = train(
        tmp_path / "run", tiny_data, model="resnet11", attention="se", recipe=tiny_recipe, capture=5, device="cuda"
    )
    assert len(run.metrics) == 3


def test_epoch_0_is_the_control_of_the_capture(run, tmp_path, tiny_data, tiny_recipe):
    """It is recorded before training with the statistics of the images, and changes nothing of the training."""
    again = train(tmp_path / "se", tiny_data, model="resnet11", attention="se", recipe=tiny_recipe, device="cpu")
    assert run.metrics["train_loss"].tolist() == again.metrics["train_loss"].tolist()
    opened = as_capture(run.capture_file)
    assert opened.epochs.tolist() == [1, 2, 3]
    control = opened.controls["init"]
    assert control.epochs.tolist() == [0]
    assert control.weights == "before training, seed 0"
    gate = "layer1.0.attention_module"
    assert abs(control.sites[gate]["attention"][0] - opened.sites[gate]["attention"][-1]).max() > 1e-3
    assert control.sites[gate]["input_rms"].max() < 10
