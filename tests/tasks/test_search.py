"""The structure search, against first-order DARTS written out step by step."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from stripe.data import Data, load
from stripe.errors import StripeError
from stripe.models import build
from stripe.tasks import recorded, structure
from stripe.tasks.options import SearchOptions
from stripe.tasks.search import Search, halved, penalty_of
from stripe.training import RESNET, Compute, Run, evaluate, train
from stripe.training.epoch import train_epoch
from stripe.training.optimizers import Optimizers

COMPUTE = Compute(torch.device("cpu"), torch.float32)
RECIPE = replace(RESNET, batch_size=8).scaled(3)


@pytest.fixture(scope="module")
def data() -> Data:
    return load("shapes:train=34,test=12", image_size=16)


def alphas(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if name.endswith(".alpha")}


def test_the_penalty_is_the_formula() -> None:
    p = torch.tensor([[0.4, 0.3, 0.1, 0.1, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]], dtype=torch.float64)
    first = 0.4**1.1 * 4 + 0.3**1.1 + 0.1**1.1 * (1 + 2 + 2)
    second = 0.2**1.1 * (4 + 1 + 1 + 2 + 2)
    assert penalty_of(p, SearchOptions()).item() == pytest.approx(0.1 * (first + second), rel=1e-12)
    other = SearchOptions(penalty=2.0, penalty_power=2.0, penalty_ratios=(1.0, 0, 0, 0, 3.0))
    assert penalty_of(p, other).item() == pytest.approx(2 * (0.16 + 3 * 0.01 + 0.04 + 3 * 0.04), rel=1e-6)
    assert penalty_of(p, SearchOptions(penalty=0.0)).item() == 0


@pytest.mark.parametrize("ratios", [(1.0, 2.0), (4.0, 1.0, 1.0, 2.0, -2.0), (4.0, 1.0, 1.0, 2.0, float("nan"))])
def test_other_than_five_ratios_are_refused(ratios: tuple[float, ...]) -> None:
    with pytest.raises(StripeError, match=r"penalty_ratios is .*; five numbers of at least 0 are wanted"):
        SearchOptions(penalty_ratios=ratios)


def test_the_halves_are_apart_and_hold_as_many_of_each_class(data: Data) -> None:
    labels = np.asarray(data.train.labels)
    of_alpha, of_weights = halved(data.train, seed=3)
    assert len(of_alpha) == len(of_weights) == len(labels) // 2
    assert not set(of_alpha) & set(of_weights)
    counts = [np.bincount(labels[half], minlength=len(data.classes)) for half in (of_alpha, of_weights)]
    assert abs(counts[0] - counts[1]).max() <= 1
    again, other = halved(data.train, seed=3)[0], halved(data.train, seed=4)[0]
    assert np.array_equal(again, of_alpha)
    assert not np.array_equal(other, of_alpha)


def test_their_batches_take_turns(data: Data) -> None:
    task = Search.of_data(data)
    of_alpha, of_weights = (set(half) for half in halved(data.train, seed=0))
    first, second = (task.batches(data.train, 5, seed=0, epoch=epoch) for epoch in (1, 2))
    # 17 images each: batches of 5, 5, 5 and 2, of α and of the weights in turn
    assert len(first) == 8
    assert [len(labels) for _, labels in first] == [5, 5, 5, 5, 5, 5, 2, 2]
    turns, start = [], 0
    for _, labels in first:
        own = first.indices[start : start + len(labels)]
        assert labels.tolist() == data.train.labels[own].tolist()
        assert set(own) <= (of_alpha if task._turn.alpha else of_weights)
        turns.append(task._turn.alpha)
        start += len(labels)
    assert turns == [True, False] * 4
    assert start == first.num_images == 34
    assert first.indices.tolist() != second.indices.tolist()
    assert first.indices.tolist() == task.batches(data.train, 5, seed=0, epoch=1).indices.tolist()


@pytest.mark.parametrize(
    ("images", "batch_size", "sizes"),
    [(20, 8, [8, 8, 2, 2]), (21, 8, [8, 8, 2, 2]), (18, 8, [8, 8]), (4, 8, [2, 2]), (10**6, 17, [17, 17])],
)
def test_of_the_images_of_an_epoch_each_half_gives_one_half(
    data: Data, images: int, batch_size: int, sizes: list[int]
) -> None:
    batches = Search.of_data(data).batches(data.train, batch_size, seed=0, epoch=1, images_per_epoch=images)
    assert [len(labels) for _, labels in batches] == sizes


def test_too_few_images_are_refused(data: Data) -> None:
    with pytest.raises(StripeError, match="two images each at least; 3 are too few"):
        Search.of_data(data).batches(data.train, 8, seed=0, epoch=1, images_per_epoch=3)


def test_an_epoch_is_one_of_first_order_darts(data: Data) -> None:
    """Adam on the loss of one batch of α's half, then SGD on that of one of the weights' half, and so on."""
    torch.manual_seed(0)
    model = build("resnet11", num_classes=len(data.classes), attention="sscbam")
    plain = copy.deepcopy(model)
    options = SearchOptions(penalty=0.3, alpha_lr=0.05)
    task = Search(len(data.classes), options)
    moves = Optimizers(task.optimizers(model, RECIPE), RECIPE)

    def batches(epoch: int):
        return task.batches(data.train, 8, seed=0, epoch=epoch)

    for epoch in (2, 3):  # each with another rate of the weights
        moves.begin(epoch, len(batches(epoch)))
        score = train_epoch(model, batches(epoch), moves, data, COMPUTE, epoch=epoch, task=task)

    own = alphas(plain)
    rest = [parameter for name, parameter in plain.named_parameters() if name not in own]
    sgd = torch.optim.SGD(rest, lr=0.1, momentum=0.9, weight_decay=1e-4)
    adam = torch.optim.Adam(own.values(), lr=0.05, betas=(0.5, 0.999), weight_decay=1e-3)
    plain.train()
    for epoch in (2, 3):
        for group in sgd.param_groups:
            group["lr"] = RECIPE.learning_rate(epoch)
        penalties = []
        for number, (images, labels) in enumerate(batches(epoch)):
            plain.zero_grad()
            logits = plain(data.normalize(images).contiguous(memory_format=torch.channels_last))
            p = torch.stack([alpha.softmax(0) for alpha in own.values()])
            penalty = 0.3 * (p**1.1 * torch.tensor([4.0, 1, 1, 2, 2])).sum()
            (F.cross_entropy(logits, labels) + penalty).backward()
            penalties.append(penalty.item() * len(labels))
            (sgd if number % 2 else adam).step()
    assert [RECIPE.learning_rate(epoch) for epoch in (2, 3)] == pytest.approx([0.01, 0.001])
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[name], parameter, rtol=1e-3, atol=1e-5, msg=name)
    assert min(alpha.abs().max().item() for alpha in own.values()) > 0.1
    assert score.penalty == pytest.approx(sum(penalties) / 32, rel=1e-4)


def test_each_step_moves_one_of_the_two_and_the_rate_of_alpha_stays(data: Data) -> None:
    torch.manual_seed(0)
    model = build("resnet11", num_classes=len(data.classes), attention="sscbam")
    task = Search(len(data.classes))
    moves = Optimizers(task.optimizers(model, RECIPE), RECIPE)
    moves.begin(3, 100)
    own = alphas(model)
    moved = []

    def note() -> None:
        now = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        different = {name for name in now if not torch.equal(now[name], before[name])}
        moved.append(different)
        before.update(now)

    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    batches = task.batches(data.train, 8, seed=0, epoch=3)
    train_epoch(model, batches, moves, data, COMPUTE, epoch=3, task=task, after_step=note)
    assert len(moved) == 4  # 17 images each, of which one is left over
    assert all(different == set(own) for different in moved[::2])
    assert all(different and not different & set(own) for different in moved[1::2])
    assert [group["lr"] for group in moves.members[1].param_groups] == [3e-3]
    assert moves.learning_rate == pytest.approx(0.001)


def test_the_score_counts_classes_and_says_penalty_and_identity(data: Data) -> None:
    torch.manual_seed(0)
    model = build("resnet11", num_classes=len(data.classes), attention="sscbam").eval()
    for alpha in alphas(model).values():
        alpha.data = torch.log(torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1]))
    found = evaluate(model, data.test.loader(5), data, COMPUTE, task=Search(len(data.classes)))
    plain = evaluate(model, data.test.loader(5), data, COMPUTE)
    expected = 3 * 0.1 * (0.6**1.1 * 4 + 0.1**1.1 * 6)
    assert found.penalty == pytest.approx(expected, rel=1e-5)
    assert found.identity == pytest.approx(0.6, rel=1e-5)
    assert (found.accuracy, found.top5) == (plain.accuracy, plain.top5)
    assert found.loss == pytest.approx(plain.loss + expected, rel=1e-5)


def test_a_network_without_such_blocks_has_nothing_to_search(data: Data, tmp_path: Path) -> None:
    with pytest.raises(StripeError, match="no attention whose structure could be searched"):
        train(tmp_path, data, model="resnet11", attention="cbam", task="search", recipe=RECIPE)
    assert not (tmp_path / "run.json").exists()


def same(first: Run, second: Run) -> None:
    """Two runs have the same numbers, whatever time they took."""
    timings = ["seconds", "images_per_second"]
    pd.testing.assert_frame_equal(first.metrics.drop(columns=timings), second.metrics.drop(columns=timings))
    assert structure.read(first.path).identical(structure.read(second.path))


SETTINGS = {"model": "resnet11", "attention": "sscbam", "task": "search", "recipe": RECIPE, "seed": 5, "save_every": 0}


@pytest.fixture(scope="module")
def whole(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("whole"), data, **SETTINGS)


@pytest.mark.parametrize("after", ["the metrics", "the file of the search"])
def test_an_interrupted_search_ends_as_a_whole_one(
    data: Data, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:

    def interrupt(metrics) -> None:
        if metrics.epoch == 2:
            raise KeyboardInterrupt

    if after == "the metrics":
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "again", data, on_epoch=interrupt, **SETTINGS)
    else:  # before the state is saved, so that epoch 2 is repeated
        with monkeypatch.context() as patched:
            written = structure.write

            def write(folder, epoch, *args, **kwargs) -> None:
                written(folder, epoch, *args, **kwargs)
                if epoch == 2:
                    raise KeyboardInterrupt

            patched.setattr(structure, "write", write)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path / "again", data, **SETTINGS)
        assert structure.read(tmp_path / "again").sizes["epoch"] == 2
    same(train(tmp_path / "again", data, **SETTINGS), whole)
    assert structure.read(whole.path)["epoch"].values.tolist() == [1, 2, 3]


def test_a_run_says_that_it_is_a_search_and_its_checkpoints_are_scored_as_one(data: Data, tmp_path: Path) -> None:
    options = {"penalty": 0.5, "penalty_ratios": [1, 1, 1, 1, 1]}
    recipe = RECIPE.scaled(1)
    run = train(tmp_path, data, model="resnet11", attention="sscbam", task="search", task_args=options, recipe=recipe)
    assert run.settings["task"]["options"]["penalty"] == 0.5
    assert {"train_penalty", "test_identity"} <= set(run.metrics)
    task = recorded(run.settings["task"], data)
    assert isinstance(task, Search)
    assert task.chosen == SearchOptions(penalty=0.5, penalty_ratios=(1, 1, 1, 1, 1))
    assert run.owns(tmp_path / structure.FILE)
