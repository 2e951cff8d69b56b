"""A task of somebody's own, from ``train`` to the report: where in an image is it bright, a map and a number."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from stripe import plots
from stripe.errors import StripeError
from stripe.report.training import curves, results
from stripe.tasks import Scoring, Task, recorded
from stripe.training import RESNET, Run, train, train_seeds


class Score(NamedTuple):
    loss: float
    absolute: float
    square: float
    offset: float


class Colour(Task):
    """Three numbers for each image: the means of its channels. The score is an error, so that lower is better."""

    name = "colour"
    scoring = Scoring(
        ("loss", "absolute", "square", "offset"),
        best="offset",
        higher_is_better=False,
        losses=("absolute", "square"),
        labels={"offset": "mean offset"},
        units={"offset": "grey levels"},
    )

    def collate(self, images, labels):
        return images, images.float().mean((2, 3)) / 255

    def losses(self, output, targets):
        off = output - targets
        return {"square": off.square().mean(), "absolute": 0.5 * off.abs().mean()}

    def sums(self, output, targets, *, training):
        return (output - targets).detach().abs().mean(1).sum()[None] * 255

    def score(self, loss, sums, images):
        return Score(loss, *sums[:2], sums[2] / images)


SETTINGS = {
    "model": "resnet11",
    "attention": "se",
    "num_classes": 3,
    "ema": 0.5,
    "recipe": RESNET.scaled(3),
    "device": "cpu",
}
MEASURES = ["learning_rate", *(f"{split}_{name}" for split in ("train", "test", "val") for name in Score._fields)]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_data) -> Run:
    return train(tmp_path_factory.mktemp("own") / "run", tiny_data, task=Colour(), capture=4, **SETTINGS)


def test_its_measures_are_the_columns(run):
    metrics = run.metrics
    assert set(MEASURES) <= set(metrics)
    assert len(metrics) == 3
    for split in ("train", "test", "val"):
        parts = metrics[f"{split}_absolute"] + metrics[f"{split}_square"]
        assert parts.to_numpy() == pytest.approx(metrics[f"{split}_loss"].to_numpy(), rel=1e-5)
        assert metrics[f"{split}_offset"].to_numpy() == pytest.approx(510 * metrics[f"{split}_absolute"], rel=1e-5)
    assert run.best.epoch == int(metrics.epoch[metrics.val_offset.idxmin()])
    assert run.scoring == Colour.scoring
    assert run.capture_file.exists()


def test_it_goes_on_exactly(tmp_path, tiny_data, run):
    def stop(metrics) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(folder, tiny_data, task=Colour(), capture=4, on_epoch=stop, **SETTINGS)
    assert len(Run(folder).metrics) == 1
    resumed = train(folder, tiny_data, task=Colour(), capture=4, **SETTINGS)
    assert resumed.metrics[MEASURES].equals(run.metrics[MEASURES])


def test_it_does_not_go_on_as_another_task(tiny_data, run):
    with pytest.raises(StripeError, match="other settings: task is"):
        train(run.path, tiny_data, capture=4, **SETTINGS)


def test_it_is_drawn_by_the_names_of_its_measures(run):
    figure = plots.training([run])
    loss, score = figure.axes
    assert (loss.get_ylabel(), score.get_title("left"), score.get_ylabel()) == (
        "loss",
        "mean offset",
        "mean offset (grey levels)",
    )
    legend = figure.legends[0]
    assert legend.get_title().get_text() == "test mean offset after the last and the best epoch"
    last, best = run.history[-1].test_offset, run.best.test_offset
    assert f"{last:.4g} grey levels, best {best:.4g} grey levels" in legend.get_texts()[0].get_text()
    assert score.get_lines()[1].get_ydata() == pytest.approx(run.metrics.test_offset.to_numpy())
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "test", "absolute", "square"]


def test_it_is_reported_by_the_names_of_its_measures(run):
    (record,) = curves([run])
    assert record["test_offset"] == pytest.approx(run.metrics.test_offset.tolist())
    sentence = results([run])[0]
    assert sentence.startswith(f"Test mean offset {run.best.test_offset:.4g} grey levels at the best epoch")


def test_seeds_are_summarised_by_its_score(tmp_path, tiny_data):
    settings = {**SETTINGS, "recipe": RESNET.scaled(1)}
    runs = train_seeds(tmp_path / "seeds", tiny_data, [0, 1], task=Colour(), **settings)
    sentences = results(runs)
    assert sentences[-1].startswith("Over 2 finished seeds, mean ± standard deviation: ")
    assert " grey levels at the best epoch" in sentences[-1]


def test_one_picture_is_of_one_task(run, tmp_path, tiny_data):
    settings = {**SETTINGS, "recipe": RESNET.scaled(1), "num_classes": None}
    other = train(tmp_path / "classes", tiny_data, **settings)
    with pytest.raises(StripeError, match="are scored by offset and by accuracy"):
        plots.training([run, other])


def test_a_task_that_nobody_registered_is_said(tiny_data):
    with pytest.raises(StripeError, match=r"'colour' is none of stripe's \(classification"):
        recorded(Colour().settings(), tiny_data)
    assert recorded(None, tiny_data).classes == 10


def test_a_loss_that_is_not_there(tmp_path, tiny_data):
    class Forgetful(Colour):
        def losses(self, output, targets):
            return {"square": nn.functional.mse_loss(output, targets)}

    with pytest.raises(StripeError, match="records the losses absolute by name, but what it minimises is square"):
        train(tmp_path / "run", tiny_data, task=Forgetful(), **SETTINGS)


def test_data_without_classes_needs_a_number_of_outputs(tmp_path, tiny_data):
    from dataclasses import replace

    settings = {**SETTINGS, "num_classes": None}
    with pytest.raises(StripeError, match="num_classes is None"):
        train(tmp_path / "run", replace(tiny_data, classes=()), task=Colour(), **settings)
    assert torch.is_grad_enabled()
