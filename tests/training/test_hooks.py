"""What a task may decide beside losses and score: options, batches, meters, optimisers, what an epoch leaves behind."""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest
import torch

from stripe.data import train_batches
from stripe.errors import StripeError
from stripe.models.spec import Range
from stripe.tasks import Scoring, Task, base, named, recorded, registry
from stripe.tasks.options import OPTIONS, made, unusual
from stripe.training import RESNET, RunConfig, evaluate, train
from stripe.training.compute import Compute

SHAPES = {"spec": "shapes", "image_size": 32, "seed": 0}


@dataclass(frozen=True)
class Options:
    """One of each sort."""

    weight: float = field(default=1.0, metadata={"range": Range(0), "help": "Of the loss."})
    layers: tuple[str, ...] = field(default=("a", "b"), metadata={"help": "Which."})
    masks: bool = field(default=True, metadata={"help": "Whether."})


class Spread(NamedTuple):
    loss: float
    median: float = math.nan


class Median:
    """The median of the largest outputs, which is no sum over images."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def update(self, output, targets) -> None:
        self.values += output.amax(1).tolist()

    def compute(self) -> dict[str, float]:
        return {"median": float(torch.tensor(self.values).median())}


class Turns(torch.optim.SGD):
    """Moves the first half of its parameters in every second step, the others in the steps between."""

    def step(self, closure=None):
        group = self.param_groups[0]
        group["turn"] = 1 - group.get("turn", 0)
        half = len(group["params"]) // 2
        for parameter in group["params"][:half] if group["turn"] else group["params"][half:]:
            parameter.grad = None
        return super().step()


class Medians(Task):
    name = "medians"
    scoring = Scoring(("loss", "median"), best="median")
    options = Options

    def prepare(self, model, data, compute) -> None:
        self.helper = torch.ones(1, device=compute.device) * len(data.classes)

    def batches(self, split, batch_size, **how):
        self.seen = (batch_size, how["epoch"])
        return train_batches(split, batch_size, **how)

    def meter(self, *, training):
        return None if training else Median()

    def optimizers(self, model, recipe):
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        first = Turns(parameters, lr=recipe.lr)
        first.param_groups[0]["turn"] = 0
        return [first]

    def losses(self, output, targets):
        return {"square": self.chosen.weight * output.square().mean() / self.helper[0]}

    def sums(self, output, targets, *, training):
        return output.new_zeros(0)

    def score(self, loss, sums, images):
        return Spread(loss)

    def after_epoch(self, model, epoch, folder) -> None:
        assert not model.training
        (folder / f"after-{epoch}.txt").write_text(self.name)


@pytest.fixture(autouse=True)
def known(monkeypatch) -> None:
    monkeypatch.setitem(registry._known, "medians", Medians)
    monkeypatch.setitem(OPTIONS, "medians", Options)


def test_options_are_made_of_plain_values():
    assert made(Options, {}, "medians") == Options()
    assert made(Options, {"weight": 2, "layers": ["c"]}, "medians") == Options(2, ("c",))
    assert made(None, {}, "other") is None
    assert unusual(Options(layers=("c",))) == {"layers": ("c",)}
    assert unusual(None) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"wieght": 2}, "the task medians has no option 'wieght'; it has layers, masks, weight; did you mean weight?"),
        ({"weight": "2"}, "weight is '2'; it must be a number"),
        ({"weight": -1}, r"weight is -1\.0; it must be a number, at least 0"),
        ({"layers": [1]}, "layers is .1.; it must be a list, each a text"),
    ],
)
def test_what_is_wrong_is_said_by_its_name(values, message):
    with pytest.raises(StripeError, match=message):
        RunConfig(task="medians", task_args=values)


def test_a_task_without_options_takes_none():
    with pytest.raises(StripeError, match="the task classification has no option 'weight'; it has none"):
        RunConfig(task_args={"weight": 2})


def test_the_settings_make_the_task_again(tiny_data):
    task = named("medians", tiny_data, {"weight": 2})
    settings = task.settings()
    assert settings["options"] == {"weight": 2, "layers": ("a", "b"), "masks": True}
    assert recorded(settings, tiny_data).chosen == task.chosen == Options(2)
    assert recorded({key: settings[key] for key in settings if key != "options"}, tiny_data).chosen == Options()
    for damaged in ("weight", {"weight": "much"}, {"height": 1}):
        with pytest.raises(StripeError):
            recorded({**settings, "options": damaged}, tiny_data)


def test_addresses_tell_tasks_apart_and_keep_those_of_classification():
    plain = RunConfig("resnet20", "shapes", RESNET.scaled(12))
    assert replace(plain, task="classification").address(SHAPES) == plain.address(SHAPES)
    assert replace(plain, backbone_ckpt=None, task_args={}).address(SHAPES) == "resnet20-shapes-34dec552"
    medians = replace(plain, task="medians")
    addresses = [
        plain.address(SHAPES),
        medians.address(SHAPES),
        replace(medians, task_args={"weight": 2}).address(SHAPES),
        replace(plain, backbone_ckpt="a.pth").address(SHAPES),
    ]
    assert len(set(addresses)) == 4
    assert replace(medians, task_args={"weight": 1, "layers": ["a", "b"]}).address(SHAPES) == addresses[1]


@pytest.fixture(scope="module")
def settings():
    return {"model": "resnet11", "recipe": replace(RESNET, batch_size=10, lr=0.01).scaled(2), "device": "cpu"}


def test_a_run_of_such_a_task(tmp_path, tiny_data, settings):
    task = Medians(Options(weight=3))
    run = train(tmp_path / "run", tiny_data, task=task, **settings)
    assert task.seen == (10, 2)
    assert run.metrics.train_median.isna().all()
    assert run.metrics.test_median.notna().all()
    assert sorted(path.name for path in run.path.glob("after-*.txt")) == ["after-1.txt", "after-2.txt"]
    assert run.settings["task"]["options"]["weight"] == 3
    by_name = train(tmp_path / "named", tiny_data, task="medians", task_args={"weight": 3}, **settings)
    assert by_name.metrics.test_median.tolist() == run.metrics.test_median.tolist()
    assert by_name.settings == run.settings


def test_it_goes_on_exactly(tmp_path, tiny_data, settings):
    def stop(metrics) -> None:
        raise KeyboardInterrupt

    whole = train(tmp_path / "whole", tiny_data, task="medians", **settings)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", tiny_data, task="medians", on_epoch=stop, **settings)
    resumed = train(tmp_path / "run", tiny_data, task="medians", **settings)
    columns = ["train_loss", "test_loss", "test_median", "val_median"]
    assert resumed.metrics[columns].equals(whole.metrics[columns])
    with pytest.raises(StripeError, match=r"task\.options\.weight is 1\.0 there and 2\.0 here"):
        train(tmp_path / "run", tiny_data, task="medians", task_args={"weight": 2}, **settings)


def test_a_meter_counts_all_images(tiny_data):
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4))
    task = Medians()
    compute = Compute.on(torch.device("cpu"))
    task.prepare(network, tiny_data, compute)
    found = evaluate(network, tiny_data.test.loader(5), tiny_data, compute, task=task)
    images, _ = next(iter(tiny_data.test.loader(12)))
    with torch.no_grad():
        expected = network(tiny_data.normalize(images)).amax(1).median()
    assert found.median == pytest.approx(float(expected), rel=1e-5)


class Unknown(Medians):
    """Nothing can be measured."""

    def meter(self, *, training):
        return None


def test_what_nothing_can_be_measured_by_is_said_once_and_the_loss_decides(tmp_path, tiny_data, caplog):
    settings = {"model": "resnet11", "num_classes": 4, "device": "cpu", "recipe": RESNET.scaled(2)}
    run = train(tmp_path / "run", tiny_data, task=Unknown(), **settings)
    held_out = (
        "Nothing in the training images that are held out can be measured by median: it is unknown, and the epoch"
    )
    assert [record.getMessage().startswith(held_out) for record in caplog.records if "measured" in record.msg] == [
        False,
        True,
    ]
    assert run.best.epoch == int(run.metrics.epoch[run.metrics.val_loss.idxmin()])


def test_progress_says_the_losses_by_name_and_no_score_that_is_not_measured():
    class Losses(Medians):
        scoring = Scoring(("loss", "first", "median"), best="median", losses=("first",), labels={"first": "first loss"})

    class Found(NamedTuple):
        loss: float
        first: float
        median: float = math.nan

    assert Losses().progress(Found(1, 0.5)) == "loss 1.000, first loss 0.500"
    assert Losses().progress(Found(1, 0.5, 2)) == "loss 1.000, first loss 0.500, 2"
    assert Medians().progress(Spread(1)) == "loss 1.000"


def test_lists_of_images_of_different_sizes_one_alone_included(tiny_data):
    class Sizes(Medians):
        def forward(self, model, batch, targets):
            assert len(batch) == len(targets)
            return torch.stack([model(image[None])[0] for image in batch.images])

    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4))
    task = Sizes()
    compute = Compute.on(torch.device("cpu"))
    task.prepare(network, tiny_data, compute)
    images = [torch.randint(256, (3, 8 + n, 9), dtype=torch.uint8) for n in range(3)]
    batches = [(images[:2], [{"a": torch.zeros(1)}] * 2), (images[2:], [{"a": torch.zeros(1)}])]
    found = evaluate(network, batches, tiny_data, compute, task=task)
    with torch.no_grad():
        largest = torch.stack([network(tiny_data.normalize(image[None])).max() for image in images])
    assert found.median == pytest.approx(float(largest.median()), rel=1e-5)


def test_the_default_batches_are_those_of_the_data(tiny_data):
    expected = train_batches(tiny_data.train, 8, seed=1, epoch=2)
    found = base.Task.batches(Medians(), tiny_data.train, 8, seed=1, epoch=2)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(found, expected, strict=True))
