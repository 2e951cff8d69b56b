"""Means, effects and the choice of sites, against numpy and by hand."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stripe.capture import Site, discover
from stripe.errors import StripeError
from stripe.fold import fold
from stripe.fold.calibration import calibrate
from stripe.fold.evaluation import Evaluation, evaluate
from stripe.fold.sample import Sample
from stripe.fold.selection import Effect, fast_enough, in_order, within
from stripe.fold.sites import Foldable
from stripe.fold.variants import Variants
from tests.conftest import Net, SqueezeExcite


class Two(Net):
    """Two sites, one behind the other."""

    def __init__(self) -> None:
        super().__init__(SqueezeExcite(4))
        self.conv2, self.att2 = nn.Conv2d(4, 4, 3), SqueezeExcite(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.att(self.features(x))
        return self.fc(self.att2(self.conv2(x)).mean((2, 3)))


@pytest.fixture
def net() -> Two:
    net = Two().eval()
    for gate in (net.att, net.att2):
        nn.init.normal_(gate.fc.weight, 0, 3)
    return net


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(n, 3, 8, 8), torch.randint(0, 10, (n,))) for n in (5, 7, 1)]


def gates(net: Two, images: Tensor) -> np.ndarray:
    with torch.no_grad():
        return net.att.gate(net.features(images)).flatten(1).double().numpy()


def test_mean_std_and_stripe_index(net: Two, batches) -> None:
    sites = discover(net, batches[0][0])
    found = calibrate(net, sites, Sample(batches, net, "images"))["att"]
    values = gates(net, torch.cat([images for images, _ in batches]))
    np.testing.assert_allclose(found.mean.numpy(), values.mean(0), rtol=1e-5)
    assert found.std == pytest.approx(values.std(0).mean(), rel=1e-4)
    assert found.stripe_index == pytest.approx(values.mean(0).var() / values.var(), rel=1e-4)


def test_sequential_means_see_what_was_folded_before(net: Two, batches) -> None:
    images = torch.cat([images for images, _ in batches])
    with torch.no_grad():
        x = net.features(images)
        x = x * net.att.gate(x).mean(0)
        expected = net.att2.gate(net.conv2(x)).mean(0).flatten()
        weight = net.conv2.weight * expected[:, None, None, None]
    folded = fold(net, batches, sequential=True).model
    torch.testing.assert_close(folded.conv2.weight, weight, rtol=1e-4, atol=1e-6)


def test_the_effect_of_one_site_alone(net: Two, batches) -> None:
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        x = net.features(images)
        y = net.att2(net.conv2(x * net.att.gate(x).mean(0)))
        logits, wanted = net.fc(y.mean((2, 3))), net(images)
    row = fold(net, batches).sites.set_index("site").loc["att"]
    assert row["error"] == pytest.approx(float((logits - wanted).norm() / wanted.norm()), rel=1e-4)
    hits = [float((out.argmax(1) == labels).float().mean()) for out in (logits, wanted)]
    assert row["accuracy_change"] == pytest.approx(100 * (hits[0] - hits[1]), abs=1e-4)
    change = F.cross_entropy(logits, labels) - F.cross_entropy(wanted, labels)
    d = np.asarray(logits.argmax(1) == labels).astype(float) - np.asarray(wanted.argmax(1) == labels)
    assert row["uncertainty"] == pytest.approx(100 * d.std() / 13**0.5)
    assert row["loss_change"] == pytest.approx(float(change), abs=1e-5)


def test_score_by_numpy(net: Two, batches) -> None:
    found = evaluate(net, Sample(batches, net, "images"))
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        logits = net(images).double().numpy()
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(13), labels]
    assert found.accuracy == pytest.approx(100 * (logits.argmax(1) == labels.numpy()).mean())
    assert found.loss == pytest.approx(losses.mean(), rel=1e-5)


def test_uncertainty_by_numpy() -> None:
    """Of 100 images 8 are lost and 4 won: the mean change is −4 points."""
    images, zeros = torch.randn(100, 3, 8, 8), torch.zeros(100)
    before, after = zeros.clone(), zeros.clone()
    before[:60], after[8:64] = 1, 1
    scores = [Evaluation(0, 0, images, hits) for hits in (before, after)]
    d = (after - before).numpy()
    assert d.mean() == pytest.approx(-0.04)
    assert scores[1].uncertainty(scores[0]) == pytest.approx(100 * d.std() / 10)
    assert scores[0].uncertainty(scores[0]) == 0


def place(name: str) -> Foldable:
    site = Site(name, "channel", "SE", ("channel",), (4,), (4, 8, 8), True, name, 0, 0, 1, 1)
    return Foldable(site, name, -3, (4,))


def test_greedy_by_error_per_time() -> None:
    places = [place("a"), place("b"), place("c")]
    effects = {"a": Effect(0.3, 0, 0, 0), "b": Effect(0.1, 0, 0, 0), "c": Effect(0.2, 0, 0, 0)}
    seconds = {"a": 3.0, "b": 0.5, "c": 4.0}  # 0.1, 0.2 and 0.05 a second
    assert [found.site.name for found in in_order(places, effects, seconds)] == ["c", "a", "b"]


CURVE = pd.DataFrame({"sites": [0, 1, 2, 3], "relative_speed": [1.0, 1.1, 1.3, 1.2]})


@pytest.mark.parametrize(("speed", "sites"), [(1.0, 0), (1.1, 1), (1.15, 2), (1.25, 2)])
def test_as_few_sites_as_reach_a_speed(speed: float, sites: int) -> None:
    assert fast_enough(CURVE, speed, 3) == sites


def test_a_speed_that_is_not_reached() -> None:
    with pytest.raises(StripeError, match=r"× 2 is not reached: the fastest is × 1.30, with 2 of 3 sites folded"):
        fast_enough(CURVE, 2, 3)
    with pytest.raises(StripeError, match=r"× 1.15 is not reached within the budget: the fastest is × 1.10"):
        fast_enough(CURVE, 1.15, 1)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(0, ["a"]), (2, ["a", "c"]), (3, ["a", "c"]), (3.9, ["a", "c"]), (4, ["a", "b"]), (6, ["a", "b", "c"])],
)
def test_sites_that_a_budget_allows(budget: float, expected: list[str]) -> None:
    """Folding b costs 4 points, c 2; b is passed over where that is too much, and c is tried."""
    cost = {"a": 0, "b": 4, "c": 2}
    variants = Costs(lambda places: 60 - sum(cost[place.site.name] for place in places))
    allowed = within(variants, [place(name) for name in "abc"], budget)
    assert [place.site.name for place in allowed] == expected


class Costs(Variants):
    """Networks whose accuracy a function says."""

    def __init__(self, accuracy: Callable[[Sequence[Foldable]], float]) -> None:
        self.accuracy, self.original = accuracy, at(60)

    def evaluate(self, folded: Sequence[Foldable], *, going_on: bool = False) -> Evaluation:
        return at(self.accuracy(folded))

    def keep(self, folded: Sequence[Foldable]) -> None:
        pass


def at(accuracy: float) -> Evaluation:
    return Evaluation(accuracy, 0, torch.zeros(1), torch.zeros(1))


def test_a_budget_in_binary() -> None:
    """From 60 to 57 % is 3 points, though 100 · .57 is a little less than 57."""
    assert within(Costs(lambda places: 100 * 0.57), [place("a")], 3)


def test_a_budget_needs_labels(net: Two) -> None:
    with pytest.raises(StripeError, match="without labels no budget"):
        fold(net, [torch.randn(4, 3, 8, 8)], budget=1)


def test_the_whole_curve(net: Two, batches) -> None:
    result = fold(net, batches, budget=100, frontier=True)
    assert result.frontier is not None
    assert result.frontier["sites"].tolist() == [0, 1, 2]
    assert set(result.frontier["site"][1:]) == {"att", "att2"}
    assert result.frontier["error"].iloc[0] == 0
    last = evaluate(result.model, Sample(batches, net, "images"))
    assert result.frontier["accuracy"].iloc[-1] == pytest.approx(last.accuracy)
    assert result.frontier["loss"].iloc[-1] == pytest.approx(last.loss, rel=1e-4)


def test_sites_that_are_not_chosen_keep_their_attention(net: Two, batches) -> None:
    result = fold(net, batches, sites="att2")
    assert result.sites["folded"].tolist() == ["kept", "backwards"]
    assert isinstance(result.model.att, SqueezeExcite)
