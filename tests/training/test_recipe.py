from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stripe.errors import StripeError
from stripe.training import RESNET
from stripe.training.optimizers import Optimizers
from stripe.training.recipe import Group


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
        {"label_smoothing": -0.1},
        {"label_smoothing": 1.0},
        {"momentum": 1.0},
        {"gamma": 0.0},
        {"schedule": "linear"},
        {"algorithm": "lion"},
        {"warmup": -1},
        {"warmup": 165},
        {"warmup_steps": -1},
        {"warmup_steps": 10, "warmup": 1},
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


RATES = {
    # Four epochs of two steps from a rate of 1; by hand.
    "as before": ({"milestones": (2,)}, [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]),
    "warm-up of epochs": ({"milestones": (2,), "warmup": 2}, [0.25, 0.5, 0.75, 1, 0.1, 0.1, 0.1, 0.1]),
    "warm-up of steps": ({"milestones": (1,), "warmup_steps": 3}, [1 / 3, 2 / 3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
    "cosine": ({"schedule": "cosine"}, [np.cos(np.pi * (t // 2) / 8) ** 2 for t in range(8)]),
    "cosine of steps": ({"schedule": "cosine", "per_step": True}, [np.cos(np.pi * t / 16) ** 2 for t in range(8)]),
}


def rates_of(members, recipe, first=1, group=0):
    """The rates that are in force at each step from some epoch on."""
    both, found = Optimizers(members, recipe), []
    for epoch in range(first, 5):
        both.begin(epoch, 2)
        for _ in range(2):
            both.step()
            found.append(both.param_groups[group]["lr"])
            assert both.learning_rate == pytest.approx(recipe.rate(epoch, (len(found) - 1) % 2, 2), rel=1e-12)
    return found


@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize(("changes", "rates"), RATES.values(), ids=RATES)
def test_the_rate_at_every_step(changes, rates, first):
    recipe = replace(RESNET, epochs=4, lr=1.0, milestones=()).scaled(4)
    recipe = replace(recipe, **changes)
    members = [recipe.optimizer(nn.Linear(2, 2).parameters())]
    assert rates_of(members, recipe, first) == pytest.approx(rates[2 * (first - 1) :])


def test_an_epoch_s_rate_is_that_of_the_recipe_in_every_digit():
    for recipe in (RESNET, replace(RESNET, schedule="cosine", lr=0.07)):
        short = replace(recipe, epochs=4)
        rates = rates_of([short.optimizer(nn.Linear(2, 2).parameters())], short)
        assert rates == [short.learning_rate(epoch) for epoch in (1, 1, 2, 2, 3, 3, 4, 4)]


def test_a_warm_up_of_epochs_scales_and_one_of_steps_stays():
    assert replace(RESNET, warmup=10).scaled(82).warmup == 5
    assert replace(RESNET, warmup=10).scaled(2).warmup == 1
    assert replace(RESNET, warmup_steps=100).scaled(2).warmup_steps == 100
    assert RESNET.scaled(2).warmup == 0


def test_a_part_of_a_recipe_knows_how_long_that_is_and_is_equal_to_one_that_does_not():
    """A hundred epochs of another paper, of which twelve are trained."""
    short = RESNET.scaled(100).scaled(12)
    assert (short.epochs, short.full_epochs) == (12, 100)
    unknown = replace(short, full_epochs=None)
    assert short == unknown
    assert hash(short) == hash(unknown)
    assert short.settings() == unknown.settings()


def test_settings_say_new_attributes_only_where_they_change_something():
    old = ["epochs", "batch_size", "lr", "schedule", "milestones", "gamma", "momentum", "weight_decay", "algorithm"]
    assert list(RESNET.settings()) == old
    changed = replace(RESNET, warmup=5, groups=(Group("*.bias", weight_decay=0.0),), label_smoothing=0.1)
    assert list(changed.settings()) == [*old, "warmup", "groups", "label_smoothing"]
    (group,) = changed.settings()["groups"]
    assert group == {"names": "*.bias", "lr": None, "momentum": None, "weight_decay": 0.0, "algorithm": None}


def test_groups_are_optimised_otherwise_at_the_same_schedule():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    groups = (Group("0.*", lr=0.01), Group("*.bias", weight_decay=0.0))
    recipe = replace(RESNET, epochs=4, milestones=(2,), groups=groups)
    (optimizer,) = recipe.optimizers(model.named_parameters())
    shapes = [[tuple(parameter.shape) for parameter in group["params"]] for group in optimizer.param_groups]
    assert shapes == [[(2, 3)], [(3, 2), (3,)], [(2,)]]
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (0.1, 1e-4),
        (0.01, 1e-4),
        (0.1, 0.0),
    ]
    assert rates_of([optimizer], recipe, group=1) == pytest.approx([0.01] * 4 + [0.001] * 4)


def test_another_algorithm_is_another_optimiser_and_each_moves_its_own():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    recipe = replace(RESNET, epochs=4, groups=(Group("1.*", lr=0.001, algorithm="adamw"),))
    members = recipe.optimizers(model.named_parameters())
    assert [type(member) for member in members] == [torch.optim.SGD, torch.optim.AdamW]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    both = Optimizers(members, recipe)
    both.begin(1, 2)
    model(torch.ones(1, 2)).sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    both.step()
    for index in (0, 1):  # SGD's first step: w − lr (g + wd w)
        expected = before[index] - 0.1 * (gradients[index] + 1e-4 * before[index])
        torch.testing.assert_close(list(model.parameters())[index].detach(), expected)
    for index in (2, 3):  # AdamW's: w (1 − lr wd) − lr sign(g)
        expected = before[index] * (1 - 1e-7) - 0.001 * gradients[index].sign()
        torch.testing.assert_close(list(model.parameters())[index].detach(), expected, rtol=1e-4, atol=1e-6)
    both.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())
    again = Optimizers(recipe.optimizers(model.named_parameters()), recipe)
    again.load_state_dict(both.state_dict())
    assert len(again.state) == 4
    with pytest.raises(ValueError, match="shorter"):
        again.load_state_dict({"optimizers": both.state_dict()["optimizers"][:1]})


def test_a_group_of_nothing_and_one_out_of_range():
    recipe = replace(RESNET, groups=(Group("backbone.*"),))
    with pytest.raises(StripeError, match=r"no parameter for the group 'backbone\.\*'"):
        recipe.optimizers(nn.Linear(2, 2).named_parameters())
    for wrong in ({"names": ""}, {"lr": 0.0}, {"momentum": 1.0}, {"weight_decay": -1.0}, {"algorithm": "lion"}):
        with pytest.raises(StripeError, match=f"{next(iter(wrong))}=.* out of range for a group"):
            Group(**{"names": "*", **wrong})
