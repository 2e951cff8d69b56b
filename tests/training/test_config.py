from dataclasses import replace

import pytest

from stripe.errors import StripeError
from stripe.training import RESNET, RunConfig, recipe_for, train

SHAPES = {"spec": "shapes", "image_size": 32, "seed": 0}
CIFAR10 = {"spec": "cifar10", "image_size": 32, "files": "0123abcd", "train_images": 5000}
RESNET18 = "torchvision:resnet18"
VIT = "timm:vit_small_patch16_224"


@pytest.mark.parametrize(
    ("config", "data", "address"),
    [
        (
            RunConfig("resnet29", "shapes", RESNET.scaled(12), attention="se", capture=100),
            SHAPES,
            "resnet29-se-shapes-5830cda8",
        ),
        (RunConfig("resnet20", "shapes", RESNET.scaled(12)), SHAPES, "resnet20-shapes-34dec552"),
        (
            RunConfig(
                "resnet83",
                "cifar10",
                mode="asr",
                attention="eca",
                copies=2,
                psi="C0.1",
                psi_fixed=True,
                select="test",
                seed=2,
            ),
            CIFAR10,
            "resnet83-asr-eca-cifar10-1e0b5c0e",
        ),
        (
            RunConfig("resnet83", "cifar10", mode="both", attention="ie", psi=0.3, precision="bfloat16"),
            CIFAR10,
            "resnet83-ie-asr-ie-cifar10-96990b3d",
        ),
        (RunConfig("resnet83", "cifar10", mode="asr"), CIFAR10, "resnet83-asr-se-cifar10-2490db51"),
        (
            RunConfig(
                "resnet164", "cifar10", replace(RESNET, weight_decay=5e-4), noise=(0.8, 0.5), images_per_epoch=1000
            ),
            CIFAR10,
            "resnet164-noise-0.8-0.5-cifar10-fab91082",
        ),
        (
            RunConfig("resnet164", "cifar10", mode="asr", attention="srm", noise_random=0.1),
            CIFAR10,
            "resnet164-asr-srm-noise-1-0-cifar10-95168bfe",
        ),
        (
            RunConfig("timm:seresnet50", "cifar10", None, pretrained=True, capture=500, image_size=224),
            CIFAR10,
            "timm-seresnet50-published-cifar10-22709dc3",
        ),
        (
            RunConfig(
                RESNET18, "cifar10", recipe_for(RESNET18, "imagenet"), attention="se", pretrained=True, image_size=64
            ),
            CIFAR10,
            "torchvision-resnet18-se-cifar10-f53b561d",
        ),
        (
            RunConfig(
                "vgg19", "stl10", replace(recipe_for("vgg19", "stl10"), schedule="cosine"), attention="cbam", seed=1
            ),
            {"spec": "stl10", "image_size": 96},
            "vgg19-cbam-stl10-fa40df02",
        ),
        (
            RunConfig(VIT, "cifar10", recipe_for(VIT, "imagenet"), mode="asr"),
            CIFAR10,
            "timm-vit_small_patch16_224-asr-se-cifar10-06fa1164",
        ),
        (
            RunConfig("resnet11", "folder:/a/b c", RESNET.scaled(12), mode="none", attention="se"),
            {"spec": "folder:/a/b c", "image_size": 32, "files": "ff"},
            "resnet11-b-c-6e28958a",
        ),
    ],
)
def test_addresses_of_the_first_release(config, data, address):
    """As its code gave them; runs that lie there are found. Another address means a new VERSION."""
    assert config.address(data) == address


def test_the_address_says_what_it_did_not_know_before_only_where_that_is_used():
    config = RunConfig("resnet29", "shapes", RESNET.scaled(12), attention="se", capture=100)
    same = replace(config, accumulate=1, ema=None, args={}, num_classes=None)
    assert same.address(SHAPES) == "resnet29-se-shapes-5830cda8"
    assert replace(config, ema=0.9).address(SHAPES) != "resnet29-se-shapes-5830cda8"


def test_equal_configurations_are_one_key():
    made = RunConfig(args={"a": 1}, noise=[0.8, 0.5])
    assert made == RunConfig(args={"a": 1}, noise=(0.8, 0.5))
    assert len({made, RunConfig(args={"a": 1}, noise=(0.8, 0.5)), RunConfig(args={"a": 2}, noise=(0.8, 0.5))}) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": "one"}, "seed is 'one'; it must be a whole number"),
        ({"capture": True}, "capture is True; it must be a whole number"),
        ({"psi": [1]}, r"psi is \[1\]; it must be a number or a text or None"),
        ({"noise": (1, 2, 3)}, r"noise is \(1, 2, 3\); it must be two numbers"),
        ({"select": "best"}, "select is 'best'; it must be val or test"),
        ({"precision": "float16"}, "precision is 'float16'; it must be float32 or bfloat16 or None"),
        ({"recipe": {"lr": 1}}, "recipe is .*; it must be a Recipe or None"),
        ({"accumulate": 0}, "accumulate is 0; it must be a whole number, at least 1"),
        ({"ema": 1}, "ema is 1; it must be a number or None, more than 0 and less than 1"),
        ({"copies": 0}, "copies is 0; it must be a whole number, at least 1"),
        ({"noise_random": float("nan")}, "noise_random is nan; it must be a number, at least 0"),
        ({"seed": -1}, "seed is -1; it must be a whole number, at least 0"),
        ({"mode": "mixed"}, "unknown mode 'mixed'"),
        ({"attention": "se", "where": "*.bn3"}, "where: a setting of ASR, and there is none in mode attention"),
    ],
)
def test_what_is_wrong_is_said_with_its_name(settings, message):
    with pytest.raises(StripeError, match=message):
        RunConfig(**settings)


def test_a_configuration_and_its_fields_are_the_same_training(tmp_path, tiny_data, tiny_recipe):
    recipe = tiny_recipe.scaled(1)
    config = RunConfig("resnet11", recipe=recipe, mode="asr", seed=3)
    runs = [
        train(tmp_path / "a", tiny_data, config),
        train(tmp_path / "b", tiny_data, model="resnet11", recipe=recipe, mode="asr", seed=3),
        train(tmp_path / "c", tiny_data, replace(config, seed=0), seed=3),
    ]
    assert len({(run.history[0].train_loss, run.history[0].test_loss) for run in runs}) == 1
    assert runs[0].settings == runs[1].settings == runs[2].settings
    with pytest.raises(StripeError, match="recipe is None"):
        train(tmp_path / "d", tiny_data, replace(config, recipe=None))


def test_what_a_run_says_has_the_first_releases_keys(tmp_path, tiny_data, tiny_recipe):
    run = train(tmp_path / "run", tiny_data, model="resnet11", recipe=tiny_recipe.scaled(1))
    network = {"model", "mode", "attention", "asr", "noise", "num_classes", "args", "image_size"}
    training = {"pretrained", "recipe", "select", "held_out", "accumulate", "ema", "precision", "images_per_epoch"}
    of_data = {key for key in run.settings if key.startswith("data_")}
    assert set(run.settings) - of_data == network | training | {"data", "classes", "seed", "capture"}
