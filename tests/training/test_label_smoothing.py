"""Label smoothing of a training: in what is minimised, not in what a network is scored by."""

from dataclasses import replace

import pytest

from stripe.errors import StripeError
from stripe.training import EpochMetrics, Recipe, train
from tests.training.test_own_task import Colour


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="classification"),
        pytest.param({"attention": "sscbam", "task": "search", "task_args": {"alpha_lr": 1e-30}}, id="search"),
    ],
)
def test_the_training_loss_alone_is_smoothed(tmp_path, tiny_data, tiny_recipe, settings):
    """At a rate of next to nothing all runs have the same network, and the loss is linear in ε: (1 − ε) a + ε b."""
    recipe = replace(tiny_recipe.scaled(1), lr=1e-30)
    rows = {
        share: train(
            tmp_path / str(share),
            tiny_data,
            model="resnet11",
            recipe=replace(recipe, label_smoothing=share),
            **settings,
        ).history[-1]
        for share in (0.0, 0.25, 0.5)
    }
    assert rows[0.0].test_loss == rows[0.25].test_loss == rows[0.5].test_loss
    assert rows[0.0].val_loss == rows[0.5].val_loss
    quarter, half = (rows[share].train_loss - rows[0.0].train_loss for share in (0.25, 0.5))
    assert half == pytest.approx(2 * quarter, rel=1e-3)
    assert abs(half) > 1e-3


def test_a_run_goes_on_exactly_and_with_the_same_share_alone(tmp_path, tiny_data, tiny_recipe):
    def interrupt(metrics: EpochMetrics) -> None:
        raise KeyboardInterrupt

    def start(name: str, recipe: Recipe, **settings):
        return train(tmp_path / name, tiny_data, model="resnet11", recipe=recipe, **settings)

    recipe = replace(tiny_recipe.scaled(2), label_smoothing=0.1)
    with pytest.raises(KeyboardInterrupt):
        start("halted", recipe, on_epoch=interrupt)
    with pytest.raises(StripeError, match=r"recipe\.label_smoothing is 0\.1 there and null here"):
        start("halted", replace(recipe, label_smoothing=0.0))
    halted, whole = start("halted", recipe), start("whole", recipe)
    assert whole.settings["recipe"]["label_smoothing"] == 0.1
    columns = ["train_loss", "test_loss", "val_loss"]
    assert halted.metrics[columns].equals(whole.metrics[columns])


def test_a_task_without_classes_refuses(tmp_path, tiny_data, tiny_recipe):
    recipe = replace(tiny_recipe, label_smoothing=0.1)
    with pytest.raises(StripeError, match=r"label_smoothing=0\.1 is for tasks whose images have one class each"):
        train(tmp_path / "run", tiny_data, model="resnet11", recipe=recipe, task=Colour())
    assert not (tmp_path / "run").exists()
