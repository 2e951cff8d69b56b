"""Networks that select by values: detectors, and what is to be said of them where nothing is selected."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import nms

from stripe.fold import fold
from stripe.fold.exactness import Trial
from stripe.fold.proposals import Undecided
from tests.conftest import SqueezeExcite

IMAGES = torch.rand(2, 3, 12, 12)


class Detector(nn.Module):
    """One box at each position; those with a high score that are left by non-maximum suppression."""

    def __init__(self, threshold: float = 2.0) -> None:
        super().__init__()
        self.features, self.boxes, self.scores = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 1, 1)
        self.refine, self.threshold = nn.Linear(4, 4), threshold

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        x = self.features(x)
        boxes = self.boxes(x).flatten(2).transpose(1, 2)
        boxes = torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:].abs() + 0.1], -1)
        scores = self.scores(x).flatten(1).sigmoid()
        found = []
        for box, score in zip(boxes, scores, strict=True):
            best, order = score.topk(20)
            box = self.refine(box[order])
            kept = torch.where(best > self.threshold)[0]
            box, best = box[kept], best[kept]
            kept = nms(box, best, 0.5)
            found.append({"boxes": box[kept], "scores": best[kept]})
        return found


@pytest.mark.parametrize("threshold", [2.0, 0.0])
@pytest.mark.parametrize("layer", ["features", "boxes", "scores", "refine"])
def test_a_change_is_noticed_whatever_is_selected(layer: str, threshold: float) -> None:
    """With a threshold of 2 no box is found, and the outputs say nothing."""
    trial = Trial(Detector(threshold).eval(), IMAGES)
    assert trial.is_unchanged()
    assert any(output.numel() for output in trial.wanted) == (threshold == 0)
    with torch.no_grad():
        trial.model.get_submodule(layer).weight.mul_(1 + 1e-6)
    assert not trial.is_unchanged()


class Tied(nn.Module):
    """All scores are the same up to rounding, so that which comes first is chance."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.noise = nn.Parameter(torch.zeros(400))
        self.values = nn.Parameter(torch.randn(400))

    def forward(self, x: Tensor) -> Tensor:
        scores = x.mean() * self.scale * (1 + self.noise)
        return self.values[scores.topk(10).indices]


def test_rounding_selects_nothing_else() -> None:
    trial = Trial(Tied().eval(), IMAGES)
    assert trial.is_unchanged()
    with torch.no_grad():
        trial.model.noise.copy_(1e-14 * torch.randn(400))
    assert not torch.equal(trial.outputs()[0], trial.wanted[0])
    assert trial.is_unchanged()


class Pruned(nn.Module):
    """Selects in a part that is taken out later."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.part = nn.Conv2d(3, 4, 3), Best()

    def forward(self, x: Tensor) -> Tensor:
        return self.part(self.conv(x))


class Best(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        best = x.mean((2, 3)).sort(1, descending=True).values
        return x * best.mean(1)[:, None, None, None]


class Same(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((1, 2, 3), keepdim=True)


def test_what_selects_no_more_is_no_change() -> None:
    trial = Trial(Pruned().eval(), IMAGES)
    trial.model.part = Same()
    assert trial.is_unchanged()


def test_no_hook_is_left() -> None:
    net = Detector().eval()
    trial = Trial(net, IMAGES)
    trial.is_unchanged()
    for model in (net, trial.model):
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Excited(Detector):
    """A detector with attention."""

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), SqueezeExcite(4))


@pytest.mark.parametrize("threshold", [2.0, 0.5, 0.0])
def test_a_detector_folds_and_its_cost_is_that_of_the_scores(threshold: float) -> None:
    net = Excited(threshold).eval()
    result = fold(net, [IMAGES])
    assert result.sites["folded"].tolist() == ["backwards"]
    with torch.no_grad():
        maps = net.features[0](IMAGES)
        gate = net.features[1].gate(maps)
        found = []
        for each in (gate, gate.mean(0)):
            boxes = net.boxes(maps * each).flatten(2).transpose(1, 2)
            boxes = torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:].abs() + 0.1], -1)
            found.append((net.scores(maps * each).sigmoid(), boxes))
        changes = [float((after - before).norm() / before.norm()) for before, after in zip(*found, strict=True)]
    wanted = (sum(change**2 for change in changes) / 2) ** 0.5
    assert result.steps["error"].tolist() == pytest.approx([0, wanted, wanted], rel=1e-4)


def test_the_numbers_by_which_is_selected_first() -> None:
    """Scores (2, 100) of each image, and the boxes (2, 100, 4) out of which the best are taken."""
    net = Detector(0.0).eval()
    with torch.no_grad():
        with Undecided() as undecided:
            output = net(IMAGES)
        x = net.features(IMAGES)
        numbers = undecided.of(output, 2)
        assert [tuple(tensor.shape) for tensor in numbers] == [(2, 100), (2, 100, 4)]
        torch.testing.assert_close(numbers[0], net.scores(x).flatten(1).sigmoid())
        torch.testing.assert_close(numbers[1][..., :2], net.boxes(x).flatten(2).transpose(1, 2)[..., :2])


def test_of_other_outputs_there_are_no_such_numbers() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), Best())
    with Undecided() as undecided:
        output = net(IMAGES)
    assert undecided.of(output, 2) == []
