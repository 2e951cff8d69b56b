from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stripe.errors import StripeError
from stripe.training import RESNET


def test_the_table_of_the_paper():
    assert (RESNET.epochs, RESNET.batch_size, RESNET.lr, RESNET.weight_decay) == (164, 128, 0.1, 1e-4)
    assert (RESNET.momentum, RESNET.milestones, RESNET.gamma) == (0.9, (81, 122), 0.1)


@pytest.mark.parametrize(("epoch", "rate"), [(1, 0.1), (81, 0.1), (82, 0.01), (122, 0.01), (123, 0.001), (164, 0.001)])
def test_the_rate_drops_after_a_milestone(epoch, rate):
    assert RESNET.learning_rate(epoch) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("epochs", "milestones"), [(164, (81, 122)), (12, (6, 9)), (82, (40, 61)), (1, (1,)), (3, (1, 2))]
)
def test_milestones_scale_with_the_epochs(epochs, milestones):
    scaled = RESNET.scaled(epochs)
    assert scaled.milestones == milestones
    assert scaled.epochs == epochs


@given(epochs=st.integers(1, 1000), schedule=st.sampled_from(["step", "cosine"]))
def test_the_rate_begins_full_and_never_rises(epochs, schedule):
    recipe = replace(RESNET, schedule=schedule).scaled(epochs)
    rates = [recipe.learning_rate(epoch) for epoch in range(1, epochs + 1)]
    assert rates[0] == 0.1
    assert all(rate > 0 for rate in rates)
    assert rates == sorted(rates, reverse=True)


def test_cosine_is_half_way_down_in_the_middle():
    recipe = replace(RESNET, schedule="cosine").scaled(100)
    assert recipe.learning_rate(51) == pytest.approx(0.05)
    assert recipe.learning_rate(26) == pytest.approx(0.1 * (1 + 2**-0.5) / 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"weight_decay": -1e-4},
        {"momentum": 1.0},
        {"gamma": 0.0},
        {"schedule": "linear"},
        {"algorithm": "lion"},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(StripeError, match=next(iter(wrong))):
        replace(RESNET, **wrong)


def test_weight_decay_is_on_every_parameter_norm_layers_included():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    (group,) = RESNET.optimizer(model.parameters()).param_groups
    assert len(group["params"]) == 4
    assert (group["weight_decay"], group["momentum"], group["nesterov"]) == (1e-4, 0.9, False)


def test_frozen_parameters_are_left_out_and_a_frozen_model_refused():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert [p.shape for p in RESNET.optimizer(model.parameters()).param_groups[0]["params"]] == [torch.Size([2, 2])]
    model.requires_grad_(False)
    with pytest.raises(StripeError, match="no parameter"):
        RESNET.optimizer(model.parameters())
