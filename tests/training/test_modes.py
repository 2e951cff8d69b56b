"""What `train` does with ASR, noise, held-out images, averages and parts of batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stripe import asr, checkpoint
from stripe.capture import open_capture
from stripe.errors import StripeError
from stripe.models import build
from stripe.training import Compute, Run, evaluate, train

CPU = Compute.on(torch.device("cpu"))


@pytest.fixture
def trained(tmp_path, tiny_data, tiny_recipe):
    def trained(name="run", **settings) -> Run:
        settings = {"model": "resnet11", "recipe": tiny_recipe.scaled(2), "device": "cpu", **settings}
        return train(tmp_path / name, tiny_data, **settings)

    return trained


def score(run, data, fused=False):
    network = asr.restore(checkpoint.read(run.checkpoints[-1]))
    return evaluate(CPU.place(asr.fuse(network) if fused else network), data.test.loader(10), data, CPU)


@pytest.mark.parametrize("mode", ["none", "attention", "asr", "both"])
def test_checkpoints_of_every_mode_come_back(trained, tiny_data, mode):
    run = trained(mode=mode, attention="none" if mode == "none" else "eca", select="val")
    last = run.metrics.iloc[-1]
    for fused in (False, True):
        found = score(run, tiny_data, fused=fused)
        assert found.loss == last.test_loss
        assert found.accuracy == last.test_accuracy
    assert checkpoint.read(run.checkpoints[0]).meta["mode"] == run.settings["mode"] == mode


def test_asr_is_trained(trained):
    first, last = (asr.values(asr.restore(checkpoint.read(path))) for path in trained(mode="asr").checkpoints)
    assert all(not torch.equal(value, last[name]) for name, value in first.items())
    assert list(first) == ["layer1.0.bn3", "layer2.0.bn3", "layer3.0.bn3"]


def test_every_value_is_computed_once_a_step(trained, monkeypatch):
    calls = []
    original = asr.ASR._value
    monkeypatch.setattr(asr.ASR, "_value", lambda self: calls.append(not torch.is_grad_enabled()) or original(self))
    trained(mode="asr", where="layer1.0.bn3", select="test")
    # Each epoch two steps and one pass over the test images. Before, weight and bias were looked at as ASR was put in.
    assert calls[-6:] == [False, False, True] * 2
    assert len(calls) <= 6 + 3


def test_capture_sees_the_attention_and_not_asr(trained, tiny_data):
    run = trained(mode="both", attention="se", capture=4)
    with open_capture(run.capture_file) as capture:
        assert sorted(capture["sites"].children) == [f"layer{n}.0.attention_module" for n in (1, 2, 3)]
        network = asr.restore(checkpoint.read(run.checkpoints[-1])).eval()
        gates = []
        module = network.get_submodule("layer1.0.attention_module")
        module.register_forward_hook(lambda m, args, _: gates.append(m.gate(args[0])))
        chosen = [int(path.rpartition("/")[2].partition(".")[0]) for path in capture["path"].values]
        images, _ = next(iter(tiny_data.test.loader(4, indices=chosen)))
        with torch.inference_mode():
            network(tiny_data.normalize(images))
        recorded = capture["sites/layer1.0.attention_module"].attention.sel(epoch=2)
        np.testing.assert_allclose(recorded, gates[0].flatten(1), atol=1e-5)


def test_nothing_to_capture_in_mode_asr(trained):
    with pytest.raises(StripeError, match="mode='both'"):
        trained(mode="asr", capture=4)


def test_a_network_of_somebody_else_takes_asr_by_a_pattern(trained, tiny_data):
    run = trained(model="torchvision:resnet18", mode="asr", attention="ie", where="layer*.*.bn2")
    assert score(run, tiny_data, fused=True).loss == run.metrics.test_loss.iloc[-1]


@pytest.mark.parametrize("mode", ["none", "asr"])
def test_noise_is_there_in_training_and_evaluation_and_is_fused(trained, tiny_data, mode):
    run = trained(mode=mode, noise=(0.8, 0.5), noise_random=0.1)
    assert trained("quiet", mode=mode).metrics.train_loss[0] != run.metrics.train_loss[0]
    for fused in (False, True):
        assert score(run, tiny_data, fused=fused).loss == run.metrics.test_loss.iloc[-1]
    fused = asr.fuse(asr.restore(checkpoint.read(run.checkpoints[-1])))
    build("resnet11", num_classes=10).load_state_dict(fused.state_dict())


def test_the_best_epoch_is_chosen_by_images_that_are_not_trained_on(trained, tiny_data, monkeypatch):
    seen = set()
    original = type(tiny_data.train).augmented

    def watched(self, *args, indices, **kwargs):
        seen.update(indices.tolist())
        return original(self, *args, indices=indices, **kwargs)

    monkeypatch.setattr(type(tiny_data.train), "augmented", watched)
    run = trained()
    assert len(seen) == 18
    best = run.metrics.iloc[run.metrics.val_accuracy.argmax()]
    assert run.best.epoch == best.epoch
    held_out = sorted(set(range(20)) - seen)
    saved = checkpoint.read(run.best_file)
    assert saved.epoch == best.epoch
    found = evaluate(asr.restore(saved), tiny_data.train.loader(2, indices=held_out), tiny_data, CPU)
    assert (found.loss, found.accuracy) == (pytest.approx(best.val_loss), best.val_accuracy)


def test_the_official_protocol_holds_nothing_out(trained, monkeypatch):
    run = trained(select="test")
    assert run.metrics.val_loss.isna().all()
    assert run.settings["held_out"] is None
    assert run.best.test_accuracy == run.metrics.test_accuracy.max()
    assert "all 20 training images at" in run.scale


def test_a_batch_in_parts_is_the_batch(tiny_data, tiny_recipe):
    """Without batch normalisation the steps are equal, whatever the number of parts."""
    from stripe.training.epoch import train_epoch

    recipe, weights = replace(tiny_recipe, batch_size=8), []
    for parts in (1, 3, 100):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 10, 16), torch.nn.Flatten())
        batches = list(tiny_data.train.loader(recipe.batch_size))  # of 8, 8 and 4
        sizes = []
        model.register_forward_pre_hook(lambda _, args, sizes=sizes: sizes.append(len(args[0])))
        optimizer = recipe.optimizer(model.parameters())
        found = train_epoch(model, batches, optimizer, tiny_data, CPU, epoch=1, accumulate=parts)
        weights.append([*model.parameters(), torch.tensor([found.loss, found.accuracy])])
        assert sizes == {1: [8, 8, 4], 3: [3, 3, 2, 3, 3, 2, 2, 2], 100: [2] * 10}[parts]
    for others in weights[1:]:
        for expected, found in zip(weights[0], others, strict=True):
            torch.testing.assert_close(found, expected)


def test_the_average_is_what_is_scored_and_saved(trained, tiny_data, tiny_recipe):
    """w̄ ← d w̄ + (1 − d) w after every step, from the checkpoints of a run without average (by numpy)."""
    recipe = replace(tiny_recipe, batch_size=18)  # one step an epoch, so that the checkpoints are the steps
    plain = trained("plain", recipe=recipe)
    averaged = trained("averaged", recipe=recipe, ema=0.75)
    steps = [checkpoint.read(path).state_dict for path in plain.checkpoints]
    saved = checkpoint.read(averaged.checkpoints[-1]).state_dict
    for name in ("fc.weight", "bn1.running_mean", "layer2.0.conv1.weight"):
        first, second, third = (step[name].double().numpy() for step in steps)
        expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
        np.testing.assert_allclose(saved[name], expected, rtol=1e-5, atol=1e-7)
    assert score(averaged, tiny_data).loss == pytest.approx(averaged.metrics.test_loss.iloc[-1])
    assert averaged.metrics.train_loss.iloc[-1] == plain.metrics.train_loss.iloc[-1]  # the weights go their own way


def test_a_run_with_an_average_goes_on_as_if_nothing_had_been(trained):
    def stop(_):
        raise KeyboardInterrupt

    whole = trained("whole", ema=0.5, mode="asr", accumulate=2)
    with pytest.raises(KeyboardInterrupt):
        trained("cut", ema=0.5, mode="asr", accumulate=2, on_epoch=stop)
    assert list(trained("cut", ema=0.5, mode="asr", accumulate=2).metrics.test_loss) == list(whole.metrics.test_loss)


def test_compiled(trained, tiny_data, monkeypatch):
    """The weights and their names are those of the network itself."""
    compiled = []

    def compile_without_a_compiler(model):
        compiled.append(model)
        return original(model, backend="eager")

    original = torch.compile
    monkeypatch.setattr(torch, "compile", compile_without_a_compiler)
    run = trained(mode="asr", compiled=True)
    assert len(compiled) == 1
    assert score(run, tiny_data).loss == run.metrics.test_loss.iloc[-1]
    np.testing.assert_allclose(run.metrics.train_loss, trained("plain", mode="asr").metrics.train_loss, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulate": 0}, "accumulate is 0"),
        ({"ema": 1.0}, "more than 0 and less than 1"),
        ({"mode": "asr", "attention": "cbam"}, "constant"),
        ({"mode": "asr", "where": "nothing*"}, "nothing"),
        ({"model": "torchvision:vgg11", "noise": (0.8, 0.5)}, "no batch normalisation"),
    ],
)
def test_what_cannot_be_is_said(trained, settings, message):
    with pytest.raises(StripeError, match=message):
        trained(**settings)
