"""A regression out of ``stripe.data``: fractions as targets, and a task that says its number of outputs."""

from dataclasses import replace
from typing import ClassVar, NamedTuple

import pytest
import torch

from stripe.data import Data
from stripe.data.memory import MemorySplit
from stripe.errors import StripeError
from stripe.tasks import Scoring, Task, registry
from stripe.training import RESNET, train


class Error(NamedTuple):
    loss: float
    error: float


class Regression(Task):
    name = "regression"
    scoring = Scoring(("loss", "error"), best="error", higher_is_better=False)
    seen: ClassVar[list[torch.Tensor]] = []

    def outputs(self, data):
        return 1

    def losses(self, output, targets):
        self.seen.append(targets)
        return {"square": (output[:, 0] - targets).square().mean()}

    def sums(self, output, targets, *, training):
        return (output[:, 0] - targets).abs().sum()[None].detach()

    def score(self, loss, sums, images):
        return Error(loss, sums[0] / images)


@pytest.fixture
def targets(tiny_data) -> Data:
    """Images whose targets are 0.25, 1.25, 2.25 …"""

    def split(of) -> MemorySplit:
        labels = [label + 0.25 for label in range(len(of))]
        return MemorySplit(of.images, labels, of.paths, of.image_size)

    return replace(tiny_data, classes=(), train=split(tiny_data.train), test=split(tiny_data.test))


SETTINGS = {"model": "resnet11", "attention": "se", "recipe": RESNET.scaled(1), "device": "cpu"}


@pytest.mark.parametrize("select", ["val", "test"])
def test_targets_reach_the_loss_as_they_are(tmp_path, targets, select) -> None:
    Regression.seen.clear()
    run = train(tmp_path / "run", targets, task=Regression(), capture=3, select=select, **SETTINGS)
    assert run.settings["num_classes"] == 1
    seen = torch.cat(Regression.seen)
    assert seen.dtype == torch.float32
    assert (seen % 1 == 0.25).all()


def test_a_task_says_its_outputs_where_the_data_has_classes(tmp_path, tiny_data) -> None:
    run = train(tmp_path / "run", tiny_data, task=Regression(), **SETTINGS)
    assert (run.settings["num_classes"], len(run.settings["classes"])) == (1, len(tiny_data.classes))
    other = train(tmp_path / "other", tiny_data, task=Regression(), num_classes=2, **SETTINGS)
    assert other.settings["num_classes"] == 2


def test_classification_asks_for_whole_numbers(tmp_path, tiny_data, targets) -> None:
    with pytest.raises(StripeError, match="not one whole number per image"):
        train(tmp_path / "run", replace(targets, classes=tiny_data.classes), **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_a_registered_task_by_its_name(tmp_path, tiny_data, monkeypatch) -> None:
    monkeypatch.setitem(registry._known, Regression.name, Regression)
    run = train(tmp_path / "run", tiny_data, task="regression", **SETTINGS)
    assert run.settings["task"]["name"] == "regression"


@pytest.mark.parametrize(
    ("task", "said"),
    [("clasification", "no task 'clasification'.*did you mean classification"), (Regression, "give a task, such as")],
)
def test_what_is_no_task(tmp_path, tiny_data, task, said) -> None:
    with pytest.raises(StripeError, match=said):
        train(tmp_path / "run", tiny_data, task=task, **SETTINGS)
