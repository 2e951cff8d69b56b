"""Speeds, from times by hand."""

import pytest
import torch
from torch import nn

from stripe.fold import speed
from stripe.fold.sites import find_foldable
from stripe.fold.weights import Landing
from tests.conftest import Net, SqueezeExcite


def test_the_fastest_pass_of_each_and_no_time_that_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fastest: 10, 8, 9, 5. The second and third are fitted by their mean, 8.5."""
    net = Net(nn.Sequential(*(SqueezeExcite(4) for _ in range(3)))).eval()
    images = torch.randn(2, 3, 8, 8)
    places, _, _ = find_foldable(net, images)
    times = iter([10, 30, 9, 5, 20, 8, 12, 6, *4 * [99], *4 * [99], *4 * [99]])
    monkeypatch.setattr(speed, "_seconds", lambda *_: next(times))
    values = {place.site.name: torch.ones(4) for place in places}
    landings = {place.module: Landing("backwards") for place in places}
    speeds = speed.relative_speeds(net, places, values, landings, images)
    assert speeds == pytest.approx([1, 10 / 8.5, 10 / 8.5, 2])
    assert all(isinstance(module, SqueezeExcite) for module in net.att)


def test_one_against_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([4.0, 3.0, 6.0, 2.0, *6 * [9.0]])
    monkeypatch.setattr(speed, "_seconds", lambda *_: next(times))
    assert speed.relative_speed(nn.Identity(), nn.Identity(), torch.zeros(1)) == 2
