"""Networks that select by values: detectors, and what is to be said of them where nothing is selected."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import nms

from stripe.fold.exactness import Trial

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
