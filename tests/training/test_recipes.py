import re

import pytest
import torch

from stripe.training.recipe import RESNET
from stripe.training.recipes import RECIPES, recipe_for, row_for

SGD, ADAMW = "sgd", "adamw"

# Tables 10 and 11 of the paper: model, algorithm, epochs, batch, lr, schedule, milestones, gamma, weight decay.
TABLES = [
    ("resnet83", SGD, 164, 128, 0.1, "step", (81, 122), 0.1, 1e-4),
    ("resnet164", SGD, 164, 128, 0.1, "step", (81, 122), 0.1, 1e-4),
    ("vgg19", SGD, 164, 128, 0.1, "step", (60, 120, 160), 0.2, 5e-4),
    ("shufflenetv2", SGD, 164, 128, 0.1, "step", (60, 120, 160), 0.2, 5e-4),
    ("mobilenet", SGD, 164, 128, 0.1, "step", (60, 120, 160), 0.2, 5e-4),
    ("repvgg_a0", SGD, 164, 128, 0.1, "step", (130,), 0.1, 1e-4),
    ("repvgg_b3", SGD, 164, 128, 0.1, "step", (130,), 0.1, 1e-4),
    ("resnet56-acnet", SGD, 164, 128, 0.1, "cosine", (), 1.0, 1e-4),
    ("resnet110-basic", SGD, 164, 128, 0.1, "cosine", (), 1.0, 1e-4),
    ("torchvision:resnet34", SGD, 100, 128, 0.1, "step", (30, 60, 90), 0.1, 1e-4),
    ("timm:resnet50", SGD, 100, 128, 0.1, "step", (30, 60, 90), 0.1, 1e-4),
    ("timm:resnet101.tv_in1k", SGD, 100, 128, 0.1, "step", (30, 60, 90), 0.1, 1e-4),
    ("timm:vit_small_patch16_224", ADAMW, 300, 256, 5e-4, "cosine", (), 1.0, 5e-2),
    ("timm:vit_base_patch16_224", ADAMW, 300, 256, 5e-4, "cosine", (), 1.0, 5e-2),
    ("torchvision:vit_b_16", ADAMW, 300, 256, 5e-4, "cosine", (), 1.0, 5e-2),
    ("timm:vit_base_patch16_384", ADAMW, 30, 64, 5e-6, "cosine", (), 1.0, 1e-8),
]


@pytest.mark.parametrize("row", TABLES, ids=lambda row: row[0])
def test_the_tables(row):
    model, *expected = row
    data = "imagenet" if ":" in model else "cifar100"
    recipe = recipe_for(model, data)
    assert [
        recipe.algorithm, recipe.epochs, recipe.batch_size, recipe.lr, recipe.schedule, recipe.milestones, recipe.gamma,
        recipe.weight_decay,
    ] == expected  # fmt: skip
    assert recipe.momentum == 0.9
    assert re.match(r"Stripe Observation paper, table 1[01]: ", row_for(model, data).source)
    assert "nearest" not in row_for(model, data).source


@pytest.mark.parametrize(
    ("model", "data", "batch_size"),
    [
        ("resnet164", "cifar10", 128),
        ("resnet164", "stl10", 16),
        ("vgg19", "stl10", 16),
        ("resnet56-acnet", "stl10", 16),
        ("resnet164", "shapes:train=10", 128),
        ("timm:resnet50", "stl10", 128),
    ],
)
def test_batches(model, data, batch_size):
    assert recipe_for(model, data).batch_size == batch_size


@pytest.mark.parametrize(
    ("model", "data", "name"),
    [
        ("timm:seresnet50", "imagenet", "imagenet"),
        ("timm:seresnet50", "cifar10", "resnet"),
        ("python:my.model:make", "folder:photos", "resnet"),
        ("torchvision:vit_l_16", "imagenet", "vit"),
        ("timm:vit_tiny_patch16_224", "cifar10", "vit"),
    ],
)
def test_a_network_in_neither_table_takes_the_nearest_recipe_and_says_so(model, data, name):
    row = row_for(model, data)
    assert row.recipe == RECIPES[name].recipe
    assert f"no {model}" in row.source


def test_a_rate_drops_to_a_fifth():
    recipe = recipe_for("vgg19", "cifar10")
    rates = [recipe.learning_rate(epoch) for epoch in (60, 61, 121, 161, 164)]
    assert rates == pytest.approx([0.1, 0.02, 0.004, 0.0008, 0.0008])


def test_no_model_has_two_recipes():
    for model, *_ in TABLES:
        assert sum(bool(re.fullmatch(row.models, model)) for row in RECIPES.values()) == 1


def test_adamw():
    recipe = recipe_for("timm:vit_small_patch16_224", "imagenet")
    optimizer = recipe.optimizer(torch.nn.Linear(2, 2).parameters())
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (5e-4, (0.9, 0.999), 5e-2)
    assert isinstance(RESNET.optimizer(torch.nn.Linear(2, 2).parameters()), torch.optim.SGD)


@pytest.mark.parametrize("row", RECIPES.values(), ids=RECIPES)
def test_every_recipe_can_be_shortened(row):
    short = row.recipe.scaled(3)
    rates = [short.learning_rate(epoch) for epoch in (1, 2, 3)]
    assert rates[0] == row.recipe.lr
    assert rates == sorted(rates, reverse=True)
