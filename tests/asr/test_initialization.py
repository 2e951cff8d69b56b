"""Initialization of ASR: detection and repair of values that cannot learn."""

import logging

import pytest
import torch
from torch import Tensor, nn

from stripe import asr
from stripe.asr.initialization import is_dead
from stripe.attention import SE
from stripe.errors import StripeError

NARROW = ["se", "spa", "cbam-channel"]
OTHERS = ["eca", "ie", "srm"]


def network(channels: int = 16, places: int = 24) -> nn.Sequential:
    return nn.Sequential(*[nn.BatchNorm1d(channels) for _ in range(places)])


def without_gradient(model: nn.Module) -> int:
    """Trained for two steps, as IE and SRM begin with weights of 0."""
    parts = [module for module in model.modules() if isinstance(module, asr.ASR)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(8, 16)).pow(3).sum().backward()
        optimizer.step()
    return sum(part.psi.grad is None or not part.psi.grad.any() for part in parts)


@pytest.mark.parametrize("kappa", [*NARROW, *OTHERS, "dia"])
def test_every_psi_gets_a_gradient(kappa: str, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = network()
    asr.reparameterize(model, "*", kappa, start="alive")
    assert without_gradient(model) == 0
    assert not caplog.records


@pytest.mark.parametrize("kappa", NARROW)
def test_the_papers_start_is_kept_and_said(kappa: str, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = network()
    asr.reparameterize(model, "*", kappa)
    dead = without_gradient(model)
    assert 4 < dead < 20  # one hidden unit: half of 24
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{dead} of 24 attention values cannot learn" in record.getMessage()
    assert "start='alive'" in record.getMessage()


@pytest.mark.parametrize("kappa", OTHERS)
def test_modules_that_begin_at_0_are_not_dead(kappa: str, caplog: pytest.LogCaptureFixture) -> None:
    asr.reparameterize(network(), "*", kappa, start="paper")
    assert not caplog.records


def test_how_often() -> None:
    torch.manual_seed(0)
    model = network(32, 200)
    asr.reparameterize(model, "*", start="paper")
    dead = sum(is_dead(module) for module in model.modules() if isinstance(module, asr.ASR))
    assert abs(dead - 200 / 4) < 4 * (200 * 1 / 4 * 3 / 4) ** 0.5  # 2 hidden units: (1/2)²


def drawn(start: str | None, psi: float | str = 0.1) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = network()
    asr.reparameterize(model, "*", start=start, psi=psi)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_only_those_are_drawn_again_and_always_the_same() -> None:
    paper, alive, again = drawn("paper"), drawn("alive"), drawn("alive")
    assert all(torch.equal(tensor, again[name]) for name, tensor in alive.items())
    for name, weight in paper.items():
        if name.endswith("fc1.weight"):
            bias = name.replace("weight", "bias").replace("parametrizations.bias", "parametrizations.weight")
            off = 0.1 * weight.double().sum() + paper[bias].double() <= 0
            assert torch.equal(weight, alive[name]) == (not off)


def test_nobody_looks_where_weights_are_loaded_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    paper, unseen = drawn("paper"), drawn(None)
    assert all(torch.equal(tensor, unseen[name]) for name, tensor in paper.items())
    assert len(caplog.records) == 1


def test_a_fixed_psi_and_frozen_parameters() -> None:
    torch.manual_seed(0)
    model = network()
    asr.reparameterize(model, "*", learnable=False, start="alive")
    parts = [module for module in model.modules() if isinstance(module, asr.ASR)]
    assert not any(part.psi.requires_grad for part in parts)
    model(torch.randn(8, 16)).pow(3).sum().backward()
    assert all(part.attention.fc1.weight.grad.any() for part in parts)


@pytest.mark.parametrize(("kappa", "settings"), [("spa", {"psi": 0}), ("se", {"init": -1.0})])
def test_where_no_draw_helps_it_is_said(kappa: str, settings: dict, caplog: pytest.LogCaptureFixture) -> None:
    asr.reparameterize(network(places=2), "*", kappa, start="alive", **settings)
    assert "2 of 2 attention values cannot learn" in caplog.text
    assert "give another psi or init" in caplog.text


class Own(nn.Module):
    """A user's own, with an initialisation of its own that a draw must keep."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = SE(channels)
        nn.init.constant_(self.inner.fc2.bias, 3)

    def gate(self, x: Tensor) -> Tensor:
        return self.inner.gate(x)


def test_a_users_own_attention() -> None:
    torch.manual_seed(0)
    model = network()
    asr.reparameterize(model, "*", Own, start="alive")
    assert all((value > 0.8).all() for value in asr.values(model).values())  # σ(3) = 0.95
    assert without_gradient(model) == 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_within_other_modes(mode) -> None:
    torch.manual_seed(0)
    model = network()
    with mode():
        asr.reparameterize(model, "*", start="alive")
    if mode is torch.no_grad:
        assert without_gradient(model) == 0


def test_without_data_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"):
        model = network()
    asr.reparameterize(model, "*", start="paper")
    assert not caplog.records


def test_an_unknown_start() -> None:
    with pytest.raises(StripeError, match="unknown start 'alife'; there are paper and alive"):
        asr.reparameterize(network(), "*", start="alife")
