"""Two processes train as one does. Takes some seconds, for real processes start and meet over gloo."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from stripe import checkpoint
from stripe.capture import open_capture
from stripe.errors import StripeError
from stripe.training import Run, World, join

# 45 images are left to train on, so that batches of 12 end in one of 9, which two processes cannot share evenly; 23 to
# test on. A low rate, for at a high one a difference in the last digit grows.
SETTINGS = [
    *("--data", "shapes:train=50,test=23", "--image-size", "16", "--model", "resnet11", "--device", "cpu"),
    *("--mode", "both", "--attention", "srm", "--epochs", "2", "--batch-size", "12", "--lr", "0.01"),
    *("--accumulate", "2", "--ema", "0.5", "--capture", "4"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Of one process and of two, and what the two said."""
    folder = tmp_path_factory.mktemp("world")
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train = ["-m", "stripe", "train", *SETTINGS, "--out"]
    started = [
        subprocess.Popen([*how, *train, folder / name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name, how in (("one", [sys.executable]), ("two", together))
    ]
    said = [process.communicate(timeout=120) for process in started]
    assert all(process.returncode == 0 for process in started), said
    return Run(folder / "one"), Run(folder / "two"), said[1]


@pytest.mark.slow
def test_the_curves_are_the_same(runs):
    one, two, _ = runs
    for column in ("train_loss", "test_loss", "val_loss"):
        np.testing.assert_allclose(two.metrics[column], one.metrics[column], rtol=1e-4)
    for column in ("epoch", "learning_rate", "train_accuracy", "test_accuracy", "val_accuracy"):
        np.testing.assert_allclose(two.metrics[column], one.metrics[column])


def test_the_weights_are_the_same(runs):
    one, two, _ = runs
    assert len(two.checkpoints) == len(one.checkpoints) == 2
    for mine, other in zip([*two.checkpoints, two.best_file], [*one.checkpoints, one.best_file], strict=True):
        expected = checkpoint.read(other).state_dict
        found = checkpoint.read(mine).state_dict
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=1e-3)


def test_one_process_captures_writes_and_speaks(runs):
    one, two, (out, err) = runs
    with open_capture(one.capture_file) as expected, open_capture(two.capture_file) as found:
        name = "sites/layer2.0.attention_module"
        np.testing.assert_allclose(found[name].attention, expected[name].attention, atol=1e-3)
    assert [line[:9] for line in err.splitlines() if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    assert out.count("test accuracy") == 1
    assert one.settings == two.settings


def test_one_process_is_a_world(tmp_path):
    with join("cpu") as world:
        assert (world.rank, world.size, world.leads) == (0, 1, True)
        model = torch.nn.Linear(1, 1)
        assert world.parallel(model) is model
        assert world.told("x") == "x"
        assert world.total(torch.ones(2)).tolist() == [1, 1]
    assert not torch.distributed.is_initialized()


def test_a_batch_is_shared_by_parts_and_processes():
    """Eleven images in two parts, 0–5 and 6–10, of which each of two processes takes about a half."""
    first, second = (World(torch.device("cpu"), rank, 2) for rank in (0, 1))
    assert first.parts(11, accumulate=2) == [slice(0, 3), slice(6, 9)]
    assert second.parts(11, accumulate=2) == [slice(3, 6), slice(9, 11)]
    assert second.share(11, accumulate=2).tolist() == [3, 4, 5, 9, 10]
    assert first.parts(3, accumulate=8) == [slice(0, 2)]  # a part of less than two images has no batch statistics
    assert first.parts(1, accumulate=1) == []
    assert World(torch.device("cpu")).share(5, accumulate=1).tolist() == [0, 1, 2, 3, 4]


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr("stripe.training.world.pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(StripeError, match="more processes than there are GPUs here: 1"), join():
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"compiled": True}, "compiled= away"), ({"images_per_epoch": 1}, "2 processes cannot share")],
)
def test_what_several_processes_cannot_do(tmp_path, tiny_data, tiny_recipe, monkeypatch, settings, message):
    from contextlib import nullcontext

    from stripe.training import train, trainer

    monkeypatch.setattr(trainer, "join", lambda device: nullcontext(World(torch.device("cpu"), 0, 2)))
    with pytest.raises(StripeError, match=message):
        train(tmp_path / "run", tiny_data, model="resnet11", recipe=tiny_recipe, **settings)


def test_a_process_without_an_image_takes_part_in_the_score(monkeypatch, tiny_data):
    """Every process asks how long a row is, or the exchanges would not meet."""
    from stripe.training import Compute, evaluate

    exchanged = []
    monkeypatch.setattr(World, "total", lambda self, values: exchanged.append(len(values)) or values)
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 10))
    compute = Compute.on(torch.device("cpu"))
    evaluate(network, tiny_data.test.loader(4), tiny_data, compute, world=World(compute.device, 0, 2))
    with pytest.raises(ZeroDivisionError):  # nobody else has an image either, in this test
        evaluate(network, [], tiny_data, compute, world=World(compute.device, 1, 2))
    assert exchanged == [2, 4, 2, 1]
