"""Scores of networks with some constant sites: the same as of networks that run as a whole, for less."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stripe import models
from stripe.errors import StripeError
from stripe.fold import fold, variants
from stripe.fold.calibration import calibrate
from stripe.fold.evaluation import evaluate
from stripe.fold.sample import Sample
from stripe.fold.sites import Foldable, find_foldable, gated, outline_places
from stripe.fold.variants import Variants
from tests.conftest import Net, SqueezeExcite


class InPlace(Net):
    """Changes what its modules return in place, and uses one activation at several places."""

    def __init__(self) -> None:
        super().__init__(SqueezeExcite(4))
        self.att2 = SqueezeExcite(4)
        self.conv2, self.conv3 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.features(x))
        y = self.att(self.conv2(x))
        y += x
        y = self.relu(y)
        z = self.att2(self.conv3(y))
        z += y
        return self.fc(self.relu(z).mean((2, 3)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet20 + se": lambda: models.build("resnet20", attention="se"),
    "resnet20 + dia": lambda: models.build("resnet20", attention="dia"),
    "mobilenet": lambda: models.build("torchvision:mobilenet_v3_small"),
    "in place": InPlace,
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    net = NETWORKS[request.param]().eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return net


def prepared(net: nn.Module, size: int = 32) -> tuple[nn.Module, list[Foldable], dict[str, Tensor], Sample]:
    batches = [(torch.randn(n, 3, size, size), torch.randint(0, 10, (n,))) for n in (4, 3)]
    images = Sample(batches, net, "images")
    places, _, sites = find_foldable(net, images.first())
    moments = calibrate(net, [site for site in sites if site.shape], images)
    outline_places(net, places, places)
    return net, places, {place.site.name: moments[place.site.name].mean for place in places}, images


def test_the_same_as_whole_passes(network: nn.Module) -> None:
    net, places, values, images = prepared(network)
    tested = Variants(net, places, values, images)
    assert tested.original.logits.equal(evaluate(net, images).logits)
    order = random.Random(0).sample(places, len(places))
    taken: list[Foldable] = []
    for number, place in enumerate(order[:5]):
        for chosen in ([place], [*taken, place]):
            try:
                wanted = evaluate(gated(net, chosen, values), images)
            except StripeError:  # DIA hands a state from block to block
                with pytest.raises(StripeError, match="state"):
                    tested.evaluate(chosen, going_on=True)
                continue
            found = tested.evaluate(chosen, going_on=True)
            torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-5, atol=1e-6)
            assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
            assert found.hits.equal(wanted.hits)
        if number % 3 != 1:  # as a site that a budget does not allow
            taken = chosen
            tested.keep(taken)


def test_the_network_stays_as_it_was() -> None:
    net, places, values, images = prepared(InPlace().eval(), 8)
    before, modules = evaluate(net, images).logits, list(net.modules())
    tested = Variants(net, places, values, images)
    tested.evaluate(places[:1], going_on=True)
    assert evaluate(net, images).logits.equal(before)
    assert list(net.modules()) == modules
    assert not any("forward" in vars(module) for module in tested.model.modules())


class Chain(nn.Module):
    """Blocks that each cost the same, each with a site."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), SqueezeExcite(16)) for _ in range(blocks))
        )
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(x.repeat(1, 6, 1, 1)[:, :16]).mean((2, 3)))


def flops(function: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def test_a_site_costs_what_comes_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8 blocks, those behind the i-th site are 7 … 0: 28 of 8, that is 3.5 passes instead of 8."""
    monkeypatch.setattr(variants, "TRIED", 2)
    net, places, values, images = prepared(Chain(8).eval(), 16)
    assert len(places) == 8
    one = flops(lambda: evaluate(net, images))
    tested = Variants(net, places, values, images)
    effects = flops(lambda: [tested.evaluate([place]) for place in places])
    assert effects / one == pytest.approx(28 / 8, rel=0.02)

    def chain(order: list[Foldable]) -> None:
        for number in range(1, 9):
            tested.evaluate(order[:number], going_on=True)
            tested.keep(order[:number])

    # The first is an effect that is known; it is run when the second is asked for, whole, for nothing of it was kept.
    assert flops(lambda: chain(places)) / one < 4.6
    assert flops(lambda: chain(places)) == 0


def test_what_does_not_fit_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "LIMIT", 0)
    net, places, values, images = prepared(InPlace().eval(), 8)
    tested = Variants(net, places, values, images)
    assert not tested.calls
    for place in places:
        wanted = evaluate(gated(net, [place], values), images)
        torch.testing.assert_close(tested.evaluate([place]).logits, wanted.logits)


def test_effects_of_some_images_are_near_those_of_all() -> None:
    net = InPlace().eval()
    nn.init.normal_(net.att.fc.weight, 0, 3)
    batches = [(torch.randn(50, 3, 8, 8), torch.randint(0, 10, (50,))) for _ in range(4)]
    every, some = (fold(net, batches, frontier=True, effect_images=n) for n in (None, 40))
    assert some.sites["error"].to_numpy() == pytest.approx(every.sites["error"].to_numpy(), rel=0.3)
    assert some.steps["error"].tolist() == pytest.approx(every.steps["error"].tolist())
    assert some.frontier is not None
    assert every.frontier is not None
    assert some.frontier["accuracy"].iloc[0] == pytest.approx(every.frontier["accuracy"].iloc[0])
