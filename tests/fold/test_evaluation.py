"""Scores without labels: of any outputs, and by a metric of the user's own."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stripe.data import load
from stripe.errors import StripeError
from stripe.fold import fold
from stripe.fold.evaluation import Evaluation, evaluate
from stripe.fold.sample import Sample
from stripe.models import build
from stripe.tasks import Classification, Scoring, named
from stripe.training import Compute
from stripe.training import evaluate as score_of
from tests.conftest import SqueezeExcite


class Dense(nn.Module):
    """Two outputs for each position, in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.att = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), SqueezeExcite(4)
        self.heads = nn.ModuleDict({"out": nn.Conv2d(4, 2, 1), "aux": nn.Conv2d(4, 1, 1)})
        nn.init.normal_(self.att.fc.weight, 0, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.att(self.norm(self.conv(x)))
        return {name: head(x) for name, head in self.heads.items()}


class Boxes(nn.Module):
    """A list with other numbers of boxes for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.att, self.fc = nn.Conv2d(3, 4, 3), SqueezeExcite(4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        rows = self.fc(self.att(self.conv(x)).mean((2, 3)))
        return [{"boxes": row.repeat(1 + number % 3, 1)} for number, row in enumerate(rows)]


@pytest.fixture
def images() -> list[Tensor]:
    return [torch.randn(n, 3, 8, 8) for n in (5, 4)]


def test_the_change_of_any_outputs(images: list[Tensor]) -> None:
    net = Dense().eval()
    result = fold(net, images, frontier=True)
    every = torch.cat(images)
    with torch.no_grad():
        x = net.norm(net.conv(every))
        y = x * net.att.gate(x).mean(0)
        wanted, found = net(every), {name: head(y) for name, head in net.heads.items()}
        changes = [float((found[name] - wanted[name]).norm() / wanted[name].norm()) for name in wanted]
    error = np.sqrt(np.mean(np.square(changes)))
    assert result.sites["error"].iloc[0] == pytest.approx(error, rel=1e-4)
    assert result.steps["error"].tolist() == pytest.approx([0, error, error], rel=1e-4)
    assert result.steps["loss"].isna().all()
    assert result.sites["folded"].tolist() == ["backwards"]


def test_masks_are_no_labels(images: list[Tensor]) -> None:
    """What else the loader gives is nothing to judge by."""
    net = Dense().eval()
    masks = [(each, torch.randint(0, 2, (len(each), 6, 6))) for each in images]
    result = fold(net, masks, measure="outputs")
    assert result.steps["error"].tolist() == pytest.approx(fold(net, images).steps["error"].tolist(), abs=1e-6)
    with pytest.raises(StripeError, match="scores of shape"):
        fold(net, masks)


def right(output: dict[str, Tensor], item: Any) -> Tensor:
    """Share of the positions that are right."""
    return (output["out"].argmax(1) == item[1]).float().mean((1, 2))


def test_a_metric(images: list[Tensor]) -> None:
    net = Dense().eval()
    masks = [(each, torch.randint(0, 2, (len(each), 6, 6))) for each in images]
    result = fold(net, masks, metric=right, budget=1.0, frontier=True, win_back="bias")
    with torch.no_grad():
        values = [torch.cat([right(each(x), (x, m)) for x, m in masks]).double() for each in (net, result.model)]
    assert result.steps["right"].iloc[[0, -1]].tolist() == pytest.approx([float(each.mean()) for each in values])
    change = (values[1] - values[0]).numpy()
    assert result.steps["uncertainty"].iloc[-1] == pytest.approx(change.std() / 3, rel=1e-4)
    assert result.sites["right_change"].notna().all()
    assert result.frontier is not None
    assert result.frontier.columns[2] == "right"
    kept = fold(net, masks, metric=lambda output, item: -output["out"].square().mean((1, 2, 3)), budget=0.0)
    assert set(kept.sites["folded"]) <= {"backwards", "kept"}


def test_boxes_need_a_metric(images: list[Tensor]) -> None:
    net = Boxes().eval()
    with pytest.raises(StripeError, match="cannot be compared image by image; give metric="):
        fold(net, images)
    result = fold(net, images, metric=lambda output, item: [float(each["boxes"].mean()) for each in output])
    assert result.sites["folded"].tolist() == ["backwards"]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda output, item: 1.0, "returns one number for 5 images"),
        (lambda output, item: torch.zeros(2), "returns 2 for 5 images"),
        (lambda output, item: torch.full((len(item),), torch.nan), "not finite"),
        (lambda output, item: output["logits"], "the metric fails: KeyError"),
    ],
)
def test_metrics_that_are_none(metric: Any, message: str, images: list[Tensor]) -> None:
    with pytest.raises(StripeError, match=message):
        fold(Dense().eval(), images, metric=metric)


def test_many_numbers_are_compared_at_equal_distances(monkeypatch: pytest.MonkeyPatch, images: list[Tensor]) -> None:
    monkeypatch.setattr("stripe.fold.evaluation.MOST", 10)
    net = Dense().eval()
    found = evaluate(net, Sample(images, net, "images"))
    with torch.no_grad():
        wanted = net(torch.cat(images))
    assert found.widths == (9, 9)  # of 2·6·6 every 8th, of 6·6 every 4th
    torch.testing.assert_close(found.logits[:, :9], wanted["out"].flatten(1)[:, ::8])


def test_outputs_without_change_and_from_nothing() -> None:
    zero, one = (Evaluation(0, 0, torch.full((2, 3), value), torch.zeros(2), widths=(1, 2)) for value in (0.0, 1.0))
    assert zero.error(zero) == 0
    assert one.error(zero) == np.inf


def test_some_images_at_equal_distances() -> None:
    """Of 10 images in batches of 4, 4 and 2 the first, the fourth, the seventh and the last."""
    items = [
        {"image": torch.arange(n).view(n, 1, 1, 1).expand(n, 3, 2, 2).float() + start, "name": [*"abcd"][:n], "of": "x"}
        for start, n in ((0, 4), (4, 4), (8, 2))
    ]
    some = Sample(items, nn.Conv2d(3, 1, 1), "images").spread(4)
    assert [item["image"][:, 0, 0, 0].tolist() for item in some.source] == [[0, 3], [6], [9]]
    assert [item["name"] for item in some.source] == [["a", "d"], ["c"], ["b"]]
    assert all(item["of"] == "x" for item in some.source)


def test_images_of_a_batch_of_two_with_targets() -> None:
    """Lists of two images and two targets are no two images."""
    items = [([torch.full((3, 2, 2), 2.0 * k + i) for i in (0, 1)], [{"k": k}, {"k": k + 10}]) for k in range(3)]
    some = Sample(items, nn.Conv2d(3, 1, 1), "images").spread(3)
    assert [[int(image[0, 0, 0]) for image in images] for images, _ in some.source] == [[0], [2], [5]]
    assert [targets for _, targets in some.source] == [[{"k": 0}], [{"k": 1}], [{"k": 12}]]


def test_the_standard_error_of_a_mean_is_its_own() -> None:
    """The jackknife of a mean, an image left out at a time, is std / √N with n − 1."""
    draw = torch.Generator().manual_seed(0)
    before, after = torch.rand(2, 12, generator=draw, dtype=torch.float64)
    lacking = [torch.stack([(x.sum() - own) / 11 for own in x]) for x in (before, after)]
    pairs = zip((before, after), lacking, strict=True)
    scores = [Evaluation(0, 0, torch.zeros(12, 0), x, "ap", (), without) for x, without in pairs]
    assert scores[1].uncertainty(scores[0]) == pytest.approx(float((after - before).std() / 12**0.5))


@pytest.fixture(scope="module")
def scenes() -> Any:
    return load("scenes:train=8,test=1", image_size=40)


@pytest.mark.parametrize(
    ("model", "task", "measure"), [("fasterrcnn", "detection", "ap"), ("fcn", "segmentation", "miou")]
)
def test_a_task_judges_by_annotations(scenes: Any, model: str, task: str, measure: str) -> None:
    """The measure is that of ``stripe evaluate`` on all images; each of them is left out once."""
    torch.manual_seed(0)
    net = build(f"{model}:resnet11", num_classes=11, attention="se").eval()
    judge, compute = named(task, scenes), Compute(torch.device("cpu"), torch.float32)
    judge.prepare(net, scenes, compute)
    data = judge.needed(scenes)
    batches = data.train.loader(3, workers=0)
    sample = Sample([(data.normalize(images), targets) for images, targets in batches], net, "images")
    sample.task = judge
    found = evaluate(net, sample)
    score = score_of(net, batches, data, compute, task=judge)
    assert (found.measure, found.loss) == (measure, pytest.approx(score.loss, rel=1e-5))
    assert found.accuracy == pytest.approx(getattr(score, measure), abs=1e-5)
    assert found.without is not None
    assert len(found.without) == 8
    assert np.isnan(found.error(found))
    rest = data.train.loader(7, indices=[0, 1, 2, 3, 4, 6, 7], workers=0)
    assert float(found.without[5]) == pytest.approx(getattr(score_of(net, rest, data, compute, task=judge), measure))


def test_tasks_that_cannot_judge(images: list[Tensor], scenes: Any) -> None:
    with pytest.raises(StripeError, match="classification has no measure of some of the images"):
        fold(Dense().eval(), images, task=Classification(2))
    by_loss = named("segmentation", scenes)
    by_loss.scoring = Scoring(("loss",), best="loss", higher_is_better=False)
    with pytest.raises(StripeError, match="judges by loss, of which less is better"):
        fold(Dense().eval(), images, task=by_loss)
    with pytest.raises(StripeError, match="metric= takes its place"):
        fold(Dense().eval(), images, task=named("segmentation", scenes), metric=right)
    with pytest.raises(StripeError, match=r"have no targets for the task; give batches of \(images, targets\)"):
        fold(Dense().eval(), images, task=named("segmentation", scenes))
