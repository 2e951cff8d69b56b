"""Controls of captures: the network at initialisation, and the one whose gates are permuted."""

import copy
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, fx, nn
from torch.utils.data import DataLoader, TensorDataset

from stripe.adapter import batch_of
from stripe.capture import CaptureSession, Control, Epoch, as_capture, capture, discover, open_capture
from stripe.capture.controls import has_statistics, initialise, permute, restored, with_statistics
from stripe.capture.ownership import gate_parameters
from stripe.errors import StripeError
from tests.conftest import Net, SpatialGate, SqueezeExcite


def loader(count: int = 10, batch_size: int = 4, side: int = 8) -> DataLoader[tuple[Tensor, ...]]:
    images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(images, torch.arange(count) % 3), batch_size)


def own(model: nn.Module, *shape: int) -> list[str]:
    images = torch.rand(*(shape or (2, 3, 8, 8)))
    sites = [site for site in discover(model.eval(), images) if site.is_attention]
    assert sites
    return list(gate_parameters(model, batch_of(images, model), sites))


class InForward(nn.Module):
    """Two gates in a network's own forward, behind the same squeeze; a third one is made from the second map."""

    def __init__(self, residual: bool = False) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.one, self.two = nn.Linear(8, 8), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)
        self.residual = residual

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        gated = x * self.one(x.mean((2, 3))).sigmoid()[:, :, None, None]
        x = x + gated if self.residual else gated
        x = self.body(x)
        x *= self.two(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.head(x.mean((2, 3)))


class FromAnotherMap(nn.Module):
    """A gate that is made from another map, which goes nowhere else: its convolution is the gate's own."""

    def __init__(self, used: bool) -> None:
        super().__init__()
        self.low, self.high = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3)
        self.used = used

    def forward(self, images: Tensor) -> Tensor:
        high = self.high(images)
        x = self.low(images) * high.mean((2, 3), keepdim=True).sigmoid()
        return x.mean((2, 3)) + high.mean((2, 3)) if self.used else x.mean((2, 3))


class Shared(nn.Module):
    """One gate for two maps, as in DIANet."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)])
        self.gate = SqueezeExcite(3)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = self.gate(conv(x))
        return x.mean((2, 3))


class Added(nn.Module):
    """x + x ⊙ v in one operation, of halves of one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        x, y = self.conv(images).chunk(2, 1)
        v = self.fc(y.mean((2, 3))).sigmoid()[:, :, None, None]
        return torch.addcmul(x, x, v).mean((2, 3))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (InForward(), ["one.weight", "one.bias", "two.weight", "two.bias"]),
        (InForward(residual=True), ["one.weight", "one.bias", "two.weight", "two.bias"]),
        (FromAnotherMap(used=False), ["high.weight", "high.bias"]),
        (Shared(), ["gate.fc.weight", "gate.fc.bias"]),
        (Added(), ["fc.weight", "fc.bias"]),
    ],
    ids=["in-forward", "residual", "another-map", "shared", "addcmul"],
)
def test_parameters_of_gates(model: nn.Module, expected: list[str]) -> None:
    assert own(model) == expected


def test_a_map_that_is_used_elsewhere_is_not_the_gates() -> None:
    assert own(FromAnotherMap(used=True)) == []


def test_constants_of_a_graph_are_parameters_too() -> None:
    class Constants(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.register_buffer("matrix", torch.rand(4, 4))
            self.register_buffer("number", torch.tensor([3]))

        def forward(self, images: Tensor) -> Tensor:
            x = self.conv(images)
            v = self.norm(x.mean((2, 3), keepdim=True)).flatten(1) @ self.matrix * self.number
            return (x * v.sigmoid()[:, :, None, None]).mean((2, 3))

    assert own(Constants()) == ["norm.weight", "norm.bias"]
    assert own(fx.symbolic_trace(Constants())) == ["norm.weight", "norm.bias", "matrix"]


def test_permuting_keeps_the_values_and_the_map(tmp_path: Path) -> None:
    model = InForward().eval()
    before = copy.deepcopy(model.state_dict())
    batches = loader(24, 8)
    path = capture(model, batches, tmp_path / "c.h5", controls=["permuted"], seed=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    opened = as_capture(path)
    control = opened.controls["permuted"]
    assert control.epochs.tolist() == [0]
    assert control.weights == "4 tensors of the gates permuted with seed 3"
    first, second = (f"model{end}" for end in ("", "#2"))
    np.testing.assert_array_equal(control.sites[first]["input"], opened.sites[first]["input"])
    assert np.abs(control.sites[first]["attention"] - opened.sites[first]["attention"]).max() > 0.01
    assert np.abs(control.sites[second]["input"] - opened.sites[second]["input"]).max() > 1e-4

    gates = gate_parameters(model, batch_of(torch.rand(2, 3, 8, 8), model), discover(model, torch.rand(2, 3, 8, 8)))
    permute(gates, 3)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value.flatten().sort().values, before[name].flatten().sort().values, rtol=0, atol=0)
        assert torch.equal(value, before[name]) == (name not in gates)
    with torch.no_grad():
        images = torch.cat([images for images, _ in batches])
        expected = model.one(model.stem(images).mean((2, 3))).sigmoid()
    np.testing.assert_allclose(control.sites[first]["attention"][0], expected, rtol=1e-5)


def test_initialisation_with_the_statistics_of_the_images(tmp_path: Path) -> None:
    def fresh() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), SqueezeExcite(4))

    model = fresh()
    batches = loader(10, 4)
    images = torch.cat([images for images, _ in batches])
    with_statistics(model, [lambda: model(images)])
    with torch.no_grad():
        model[0].weight.mul_(3)
    opened = as_capture(capture(model, batches, tmp_path / "c.h5", controls=["init"], fresh=fresh, seed=5))
    torch.manual_seed(5)
    expected = fresh().eval()
    with torch.no_grad():
        maps = expected[0](images)
        normal = (maps - maps.mean((0, 2, 3), keepdim=True)) / (maps.var((0, 2, 3), keepdim=True) + 1e-5).sqrt()
        gate = expected[2].gate(normal).flatten(1)
    control = opened.controls["init"]
    np.testing.assert_allclose(control.sites["2"]["attention"][0], gate, rtol=1e-4)
    assert control.weights == "at initialisation, built anew with seed 5, with the batch statistics of these images"
    assert control.facts == opened.facts


def test_an_untrained_network_is_its_own_control(tmp_path: Path) -> None:
    """It has no statistics either, so that both see the same maps."""

    def fresh() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), SqueezeExcite(4))

    torch.manual_seed(0)
    model = fresh()
    assert not has_statistics(model)
    opened = as_capture(capture(model, loader(), tmp_path / "c.h5", controls=["init"], fresh=fresh))
    np.testing.assert_array_equal(opened.controls["init"].sites["2"]["attention"], opened.sites["2"]["attention"])
    assert opened.controls["init"].weights == "at initialisation, built anew with seed 0"


def test_statistics_of_the_last_epoch_decide(tmp_path: Path) -> None:
    """They come with its weights, which the model has not yet when the capture begins."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), SqueezeExcite(4))
    loads: list[int] = []

    def load(epoch: Epoch) -> float:
        loads.append(epoch.number)
        nn.init.constant_(model[1].running_mean, epoch.number)
        return 0.1 * epoch.number

    opened = as_capture(capture(model, loader(), tmp_path / "c.h5", epochs=[0, 1], load=load, controls=["init"]))
    assert opened.controls["init"].weights.endswith("seed 0, with the batch statistics of these images")
    assert opened.learning_rate.tolist() == [0, 0.1]
    capture(model, loader(), tmp_path / "one.h5", epochs=[1], load=load, controls=["init"])
    assert loads == [1, 0, 1, 1]  # and no epoch twice in a row
    held = as_capture(capture(model, loader(), tmp_path / "none.h5", epochs=[0], load=load, controls=["init"]))
    assert held.controls["init"].weights.endswith("seed 0")


def test_modules_that_can_be_reset(se_net: Net, tmp_path: Path) -> None:
    torch.manual_seed(9)
    opened = as_capture(capture(se_net, loader(), tmp_path / "c.h5", controls=["init"]))
    assert opened.controls["init"].weights == "at initialisation, each module reset with seed 0"
    assert np.abs(opened.controls["init"].sites["att"]["attention"] - opened.sites["att"]["attention"]).max() > 0

    with restored(se_net):
        initialise(se_net, None, 1)
        one = copy.deepcopy(se_net.state_dict())
        initialise(se_net, None, 1)
        assert all(torch.equal(value, one[name]) for name, value in se_net.state_dict().items())


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3), nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images) * self.scale
        return x * x.mean((2, 3), keepdim=True).sigmoid()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("init", r"control init is not possible: 1 of its parameters .*reset_parameters \(scale\)"),
        ("permuted", "control permuted is not possible: no gate has parameters of its own"),
        ("shuffled", "no control 'shuffled'; there are init and permuted"),
    ],
)
def test_controls_that_are_not_possible(name: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.h5"
    with pytest.raises(StripeError, match=said):
        capture(Scaled(), loader(), path, controls=[name])
    assert not path.exists()
    if name != "shuffled":
        capture(Scaled(), loader(), path, controls=[name], optional_controls=True)
        assert f"without the control {name}" in caplog.text
        assert as_capture(path).controls == {}


def test_a_capture_without_controls_gets_them(se_net: Net, tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    capture(se_net, loader(), path, epochs=[1, 2])
    plain = as_capture(path)
    before = {name: site.load() for name, site in plain.sites.items()}
    assert plain.controls == {}
    capture(se_net, loader(), path, epochs=[1, 2], controls=["init"])
    first = as_capture(path).controls["init"].sites["att"].load()
    capture(se_net, loader(), path, epochs=[1, 2, 3], controls=["permuted"])
    opened = as_capture(path)
    assert list(opened.controls) == ["init", "permuted"]
    assert opened.controls["permuted"].epochs.tolist() == [3]
    xr.testing.assert_identical(opened.controls["init"].sites["att"], first)
    xr.testing.assert_identical(opened.sites["att"].sel(epoch=[1, 2]), before["att"])


def test_a_control_of_other_weights_is_made_anew(se_net: Net, tmp_path: Path) -> None:
    path = tmp_path / "c.h5"

    def load(epoch: Epoch) -> float:
        nn.init.normal_(se_net.att.fc.weight, std=epoch.number, generator=torch.Generator().manual_seed(epoch.number))
        return math.nan

    def expected(epoch: int, **settings: object) -> np.ndarray:
        load(Epoch(epoch))
        alone = tmp_path / f"{epoch}-{len(list(tmp_path.iterdir()))}.h5"
        capture(se_net, loader(), alone, controls=["permuted"], **settings)
        return as_capture(alone).controls["permuted"].sites["att"]["attention"].values

    for epoch, seed in ((1, 0), (2, 0), (2, 4)):
        wanted = [Epoch(number) for number in range(1, epoch + 1)]
        capture(se_net, loader(), path, epochs=wanted, load=load, controls=["permuted"], seed=seed)
        found = as_capture(path).controls["permuted"]
        np.testing.assert_array_equal(found.sites["att"]["attention"], expected(epoch, seed=seed))
        assert found.epochs.tolist() == [epoch]
    capture(se_net, loader(), path, epochs=[Epoch(1)], load=load, controls=["permuted"])
    assert as_capture(path).controls["permuted"].epochs.tolist() == [2]


def test_xarray_opens_it(tmp_path: Path) -> None:
    path = capture(InForward(), loader(), tmp_path / "c.h5", controls=["init", "permuted"])
    ours = as_capture(path)
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        theirs = as_capture(tree)
        assert list(theirs.controls) == ["init", "permuted"]
        for name, control in theirs.controls.items():
            xr.testing.assert_allclose(control.sites["model"], ours.controls[name].sites["model"])


def test_a_control_is_complete_or_absent(se_net: Net, tmp_path: Path) -> None:
    path = tmp_path / "c.h5"

    def interrupted(advance: int) -> None:
        raise KeyboardInterrupt

    controls = [Control("init"), Control("other")]
    with CaptureSession(se_net, loader(), path, epochs=[1], controls=controls) as session:
        session.record(1)
        session.record_control("init")
        with pytest.raises(KeyboardInterrupt):
            session.record_control("other", advance=interrupted)
    assert list(as_capture(path).controls) == ["init"]
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        assert list(as_capture(tree).controls) == ["init"]
    with CaptureSession(se_net, loader(), path, epochs=[1], controls=[Control("init"), Control("other")]) as session:
        assert session.completed_controls == {"init"}
        session.record_control("other")
    assert list(as_capture(path).controls) == ["init", "other"]


def test_statistics_are_those_of_all_images_and_pass(se_net: Net, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), SpatialGate())
    before = copy.deepcopy(model.state_dict())
    batches = [images for images, _ in loader(9, 4)]
    with restored(model):
        with_statistics(model, [lambda images=images: model(images) for images in batches])
        maps = model[0](torch.cat(batches))
        torch.testing.assert_close(model[1].running_mean, maps.mean((0, 2, 3)))
        torch.testing.assert_close(model[1].running_var, maps.var((0, 2, 3)))
        assert model[1].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file["controls/init"].attrs.__setitem__("order", 7), "controls are not numbered"),
        (lambda file: file["controls/init"].attrs.__setitem__("how", 7), "control init is not readable"),
        (lambda file: file["controls/init/sites"].move("att", "other"), "control init is of other sites"),
        (lambda file: file.__delitem__("controls/complete"), "complete"),
    ],
)
def test_damaged_controls_are_refused(damage, said: str, se_net: Net, tmp_path: Path) -> None:
    path = capture(se_net, loader(), tmp_path / "c.h5", controls=["init"])
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(StripeError, match=said):
        open_capture(path)


def test_gains_that_begin_at_zero_are_one_in_the_control(tmp_path: Path) -> None:
    """Else the map would be 0 behind them, and no gate could be compared with that of a map of zeros."""

    def fresh() -> nn.Module:
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), SqueezeExcite(4))
        nn.init.zeros_(net[1].weight)
        return net

    model = fresh()
    with torch.no_grad():
        model[1].weight.fill_(2)
    opened = as_capture(capture(model, loader(), tmp_path / "c.h5", controls=["init"], fresh=fresh, seed=1))
    assert opened.controls["init"].sites["2"]["attention"].std("image").min() > 0
    assert bool((model[1].weight == 2).all())
