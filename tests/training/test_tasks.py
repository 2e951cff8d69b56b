"""A task that is none of ours: how much of an image is bright, a number, trained on squares of random sizes."""

import math
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import nn

from stripe.errors import StripeError
from stripe.tasks import Scoring, Task
from stripe.training import RESNET, Compute, Run, evaluate, fit
from stripe.training.metrics import row_of
from stripe.training.recipe import Group

CPU = Compute.on(torch.device("cpu"))


class Errors(NamedTuple):
    loss: float
    error: float


class Brightness(Task):
    """The mean of the red pixels, in 0..1: a target that is made of the images themselves."""

    name = "brightness"
    scoring = Scoring(("loss", "error"), best="error", higher_is_better=False)

    def collate(self, images, labels):
        return images, images[:, 0].float().mean((1, 2)) / 255

    def losses(self, output, targets):
        return {"square": (output[:, 0] - targets).square().mean()}

    def sums(self, output, targets, *, training):
        return (output[:, 0] - targets).abs().sum()[None]

    def score(self, loss, sums, images):
        return Errors(loss, sums[0] / images)


def network() -> nn.Module:
    """Affine in the mean of each channel, so that it can learn the task wholly."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
    return CPU.place(net)


def trained(folder, data, recipe, *, stop_after=None, task=None):
    def stop(metrics) -> None:
        if metrics.epoch == stop_after:
            raise KeyboardInterrupt

    task, net, run = task or Brightness(), network(), Run(folder)
    with run.claim({"task": task.settings(), "select": "test"}, {}, scale="tiny"), suppress(KeyboardInterrupt):
        fit(net, data, recipe, run, compute=CPU, seed=0, meta={}, task=task, on_epoch=stop)
    return net, run


@pytest.fixture(scope="module")
def recipe():
    return replace(RESNET, batch_size=10, lr=0.2, weight_decay=0.0, milestones=()).scaled(6)


def test_it_trains_and_names_its_columns(tmp_path, tiny_data, recipe):
    _, run = trained(tmp_path / "run", tiny_data, recipe)
    assert list(run.metrics) == [
        *("epoch", "learning_rate", "train_loss", "train_error", "test_loss", "test_error", "seconds"),
        *("images_per_second", "val_loss", "val_error"),
    ]
    assert run.metrics.test_error.iloc[-1] < run.metrics.test_error.iloc[0]
    assert run.best.epoch == int(run.metrics.epoch[run.metrics.test_error.idxmin()])
    assert all(math.isnan(row.val_error) for row in run.history)


def test_the_score_is_that_of_plain_pytorch(tmp_path, tiny_data, recipe):
    net, run = trained(tmp_path / "run", tiny_data, recipe)
    ((images, _),) = tiny_data.test.loader(100)
    with torch.no_grad():
        error = net(tiny_data.normalize(images))[:, 0] - images[:, 0].float().mean((1, 2)) / 255
    found = evaluate(net, tiny_data.test.loader(5), tiny_data, CPU, task=Brightness())
    assert found == pytest.approx((float(error.square().mean()), float(error.abs().mean())), rel=1e-5)
    assert run.history[-1].test_error == pytest.approx(found.error, rel=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "warmup_steps": 7,
            "schedule": "cosine",
            "per_step": True,
            "groups": (Group("*.bias", 0.01, algorithm="adamw"),),
        },
    ],
)
def test_it_goes_on_where_it_was_interrupted(tmp_path, tiny_data, recipe, changes):
    recipe = replace(recipe, **changes)
    _, whole = trained(tmp_path / "whole", tiny_data, recipe)
    _, halted = trained(tmp_path / "halted", tiny_data, recipe, stop_after=2)
    assert len(halted.history) == 2
    _, resumed = trained(tmp_path / "halted", tiny_data, recipe)
    columns = ["epoch", "learning_rate", "train_loss", "train_error", "test_loss", "test_error"]
    assert resumed.metrics[columns].equals(whole.metrics[columns])


def test_a_run_of_another_task_is_refused(tmp_path, tiny_data, recipe):
    run = Run(tmp_path / "run")
    with run.claim({"select": "test"}, {}, scale="tiny"), pytest.raises(StripeError, match=r"task\.settings\(\)"):
        fit(network(), tiny_data, recipe, run, compute=CPU, seed=0, meta={}, task=Brightness())


def test_a_score_without_what_the_task_measures(tmp_path, tiny_data, recipe):
    class Forgetful(Brightness):
        scoring = Scoring(("loss", "median"), best="median")

    with pytest.raises(StripeError, match="measures median, but its score, a Errors, does not"):
        trained(tmp_path / "run", tiny_data, recipe, task=Forgetful())


def test_several_labels_an_image_and_images_of_several_sizes(tiny_data):
    """Targets as a dictionary, images as a list; the reference is written out."""

    class Flags(Brightness):
        def collate(self, images, labels):
            return images, labels["flags"].float()

        def losses(self, output, targets):
            return {"bce": nn.functional.binary_cross_entropy_with_logits(output, targets)}

        def sums(self, output, targets, *, training):
            return ((output > 0) != (targets > 0)).sum()[None]

    class Sizes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, images):
            return self.fc(torch.stack([image.mean((1, 2)) for image in images]))

    torch.manual_seed(0)
    images = [torch.randint(0, 256, (3, 8 + n, 9)).byte() for n in range(6)]
    flags = torch.randint(0, 2, (6, 4))
    net = Sizes()
    found = evaluate(
        net, [(images[:4], {"flags": flags[:4]}), (images[4:], {"flags": flags[4:]})], tiny_data, CPU, task=Flags()
    )
    with torch.no_grad():
        logits = net([tiny_data.normalize(image[None])[0] for image in images])
    expected = nn.functional.binary_cross_entropy_with_logits(logits, flags.float())
    assert found.loss == pytest.approx(float(expected), rel=1e-5)
    assert found.error == pytest.approx(int(((logits > 0) != (flags > 0)).sum()) / 6)


def test_rows_of_classification_stay():
    assert row_of(Scoring())._fields[2:6] == ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
