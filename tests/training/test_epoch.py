import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stripe.errors import StripeError
from stripe.training import RESNET, Compute
from stripe.training.epoch import LOOK_EVERY, Score, evaluate, train_epoch

CPU = Compute.on(torch.device("cpu"))


class FirstPixel(nn.Module):
    """Logits (N, 10) that are all 0 but for class 3, whose logit is one value of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        logits = torch.zeros(len(x), 10)
        return torch.where(torch.arange(10) == 3, self.scale * x[:, :1, 0, 0], logits)


@pytest.fixture
def halves(tiny_data):
    """The data with round constants: 0 … 255 becomes −2 … 2."""
    return replace(tiny_data, mean=(0.5,) * 3, std=(0.25,) * 3)


def batch(values, labels):
    """uint8 images that become, about, the given values."""
    pixels = torch.tensor([round((v * 0.25 + 0.5) * 255) for v in values], dtype=torch.uint8)
    return pixels.view(-1, 1, 1, 1).expand(-1, 3, 16, 16).clone(), torch.tensor(labels)


def cross_entropy(images, labels):
    """By numpy: log Σ exp − logit of the label, for each image."""
    value = (images[:, 0, 0, 0].numpy() / 255 - 0.5) / 0.25
    return np.log(9 + np.exp(value)) - np.where(labels.numpy() == 3, value, 0)


def test_a_score_weighs_images_not_batches(halves):
    batches = [batch([2, 2, -2], [3, 3, 3]), batch([1], [5])]
    score = evaluate(FirstPixel(), batches, halves, CPU)
    assert score.loss == pytest.approx(np.concatenate([cross_entropy(*b) for b in batches]).mean(), abs=1e-6)
    assert score.accuracy == 50.0  # the third one gets class 0, the fourth class 3


def test_evaluation_changes_nothing(tiny_data):
    model = nn.Sequential(nn.Conv2d(3, 10, 16), nn.BatchNorm2d(10), nn.Flatten())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, tiny_data.test.loader(5), tiny_data, CPU)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_step_is_that_of_sgd_with_momentum_and_weight_decay(halves):
    """w ← w − lr · b, b ← .9 b + g + wd · w, for the one weight of the model, in numpy."""
    model, recipe = FirstPixel(), replace(RESNET, weight_decay=0.01)
    batches = [batch([1, -1], [3, 0]), batch([2], [7]), batch([0.5, 1.5], [3, 3])]
    weight, buffer, losses = 1.0, 0.0, []
    for images, labels in batches:
        x = (images[:, 0, 0, 0].numpy().astype(float) / 255 - 0.5) / 0.25
        y = labels.numpy() == 3
        p = np.exp(weight * x) / (9 + np.exp(weight * x))
        losses += list(np.log(9 + np.exp(weight * x)) - y * weight * x)
        gradient = ((p - y) * x).mean() + 0.01 * weight
        buffer = 0.9 * buffer + gradient
        weight -= 0.1 * buffer
    score = train_epoch(model, batches, recipe.optimizer(model.parameters()), halves, CPU, epoch=1)
    assert model.scale.item() == pytest.approx(weight, rel=1e-5)
    assert score.loss == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("step", [1, LOOK_EVERY, LOOK_EVERY + 1])
def test_a_loss_that_is_no_number_stops_the_training(tiny_data, step):
    class Breaks(FirstPixel):
        seen = 0

        def forward(self, x):
            self.seen += 1
            return super().forward(x) * (math.nan if self.seen >= step else 1)

    model = Breaks()
    batches = [batch([1], [3])] * (2 * LOOK_EVERY)
    with pytest.raises(StripeError, match=rf"nan at step {step} of epoch 7 \(learning rate 0\.1\)"):
        train_epoch(model, batches, RESNET.optimizer(model.parameters()), tiny_data, CPU, epoch=7)
    assert model.seen <= step + LOOK_EVERY  # not at the end of the epoch only


def test_progress_is_told_at_every_step_and_the_score_now_and_then(tiny_data):
    model, told = FirstPixel(), []
    batches = [batch([1], [3])] * (LOOK_EVERY + 1)
    train_epoch(model, batches, RESNET.optimizer(model.parameters()), tiny_data, CPU, epoch=1, advance=told.append)
    assert len(told) == LOOK_EVERY + 1
    assert [isinstance(score, Score) for score in told] == [step == LOOK_EVERY for step in range(1, LOOK_EVERY + 2)]


class Nothing(nn.Conv2d):
    def forward(self, x):
        return None, super().forward(x).sum()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Nothing(3, 10, 16), "for 4 images this model gives a tuple"),
        (nn.Conv2d(3, 10, 16), r"shape \(4, 10, 1, 1\)"),
        (nn.Sequential(nn.Conv2d(3, 7, 16), nn.Flatten()), "7 classes apart, but the data has 10"),
    ],
)
def test_models_that_are_no_classifier_of_this_data_are_refused(tiny_data, model, message):
    with pytest.raises(StripeError, match=message):
        evaluate(model, tiny_data.test.loader(4), tiny_data, CPU)
