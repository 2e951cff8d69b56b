import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from stripe import asr
from stripe.attention import ATTENTION, SE
from stripe.errors import StripeError
from stripe.models import build


class Net(nn.Module):
    """Two branches that are added up, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.right = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.left(x) + self.right(x)).mean((2, 3)))


def asr_of(model: nn.Module) -> list[asr.ASR]:
    return [module for module in model.modules() if isinstance(module, asr.ASR)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("left.1", ["left.1"]),
        ("*.1", ["left.1", "right.1"]),
        (["head", "left.*"], ["head", "left.0", "left.1"]),
        (lambda name, module: isinstance(module, nn.Conv2d), ["left.0", "right.0"]),
        ([("left.1", "right.1")], ["left.1", "right.1"]),
        ([["right.1"], "head"], ["right.1", "head"]),
    ],
)
def test_where(where, expected: list[str]) -> None:
    model = Net()
    assert asr.reparameterize(model, where) == expected
    assert sorted(asr.values(model)) == sorted(expected)


def test_layers_of_a_group_share_one_asr() -> None:
    model = Net()
    asr.reparameterize(model, [("left.1", "right.1")])
    assert len(asr_of(model)) == 1
    left, right = asr.values(model).values()
    assert torch.equal(left, right)
    x = torch.randn(2, 3, 4, 4)
    model.eval()
    plain = asr.fuse(model)
    for branch in (plain.left[1], plain.right[1]):  # back to the plain weights
        for tensor in (branch.weight, branch.bias):
            tensor.data /= left
    total = (plain.left(x) + plain.right(x)) * left[:, None, None]
    torch.testing.assert_close(model(x), model.head(total.mean((2, 3))))


def test_every_parameter_is_listed_once_and_gets_a_gradient() -> None:
    model = Net()
    names = {name for name, _ in model.named_parameters()}
    asr.reparameterize(model, [("left.1", "right.1")], "se")
    added = [name for name, _ in model.named_parameters(remove_duplicate=False) if ".asr." in name]
    owner = "left.1.parametrizations.weight.0.asr"
    assert added == [
        f"{owner}.psi",
        *(f"{owner}.attention.fc{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")),
    ]
    assert len(list(model.state_dict())) == len(set(model.state_dict()))
    assert len(names) + len(added) == len(list(model.parameters()))
    nn.init.normal_(model.left[1].parametrizations.bias.original)
    asr_of(model)[0].attention.fc1.bias.data.fill_(1)  # no ReLU is dead
    model(torch.randn(2, 3, 4, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if ".asr." in n)


def test_several_copies() -> None:
    model = Net()
    asr.reparameterize(model, "left.1", "ie", copies=3)
    assert len(asr_of(model)) == 3
    torch.testing.assert_close(asr.values(model)["left.1"], torch.full((8,), 0.26894142**3))  # σ(−1)³


@pytest.mark.parametrize(
    ("psi", "learnable", "mean", "deviation"),
    [(0.1, True, 0.1, 0), ("C0.3", False, 0.3, 0), ("N0.5", True, 0, 0.5), ("N1e-2", False, 0, 0.01), (0, True, 0, 0)],
)
def test_psi(psi: float | str, learnable: bool, mean: float, deviation: float) -> None:
    model = nn.Sequential(nn.BatchNorm2d(20_000))
    asr.reparameterize(model, "0", "ie", psi=psi, learnable=learnable)
    found = asr_of(model)[0].psi
    assert isinstance(found, nn.Parameter) == learnable
    assert any(name.endswith("psi") for name in model.state_dict())
    assert float(found.detach().mean()) == pytest.approx(mean, abs=deviation / 50 + 1e-7)
    assert float(found.detach().std()) == pytest.approx(deviation, rel=0.05, abs=1e-7)


def test_psi_is_drawn_from_the_global_generator() -> None:
    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.BatchNorm2d(4))
        asr.reparameterize(model, "0", psi="N0.1")
        return asr.values(model)["0"]

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def test_the_plain_network_begins_as_without_asr() -> None:
    torch.manual_seed(3)
    plain = build("resnet11").state_dict()
    torch.manual_seed(3)
    model = build("resnet11")
    asr.reparameterize(model)
    found = {
        name.replace("parametrizations.", "").replace(".original", ""): v for name, v in model.state_dict().items()
    }
    assert all(torch.equal(found[name], value) for name, value in plain.items())


def test_tanh_and_constant_layers() -> None:
    model = nn.Sequential(nn.Linear(4, 32))
    asr.reparameterize(model, "0", "se", psi=1e-3, activation="tanh", init=1e-3)
    hidden = 32 * 1e-3 * 1e-3 + 1e-3  # two units
    expected = torch.full((32,), 2 * hidden * 1e-3 + 1e-3).tanh()
    torch.testing.assert_close(asr.values(model)["0"], expected, rtol=1e-6, atol=0)


class Doubling(nn.Module):
    """A user's own module, not of our base class."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 2.0))

    def gate(self, x: Tensor) -> Tensor:
        return self.scale * x.mean((2, 3), keepdim=True)


class Everything(Doubling):
    """One value for all channels."""

    def gate(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3), keepdim=True)


def test_a_users_own_attention() -> None:
    model = Net()
    asr.reparameterize(model, "head", Doubling, psi=0.25)
    torch.testing.assert_close(asr.values(model)["head"], torch.full((5,), 0.5))
    assert list(asr.fuse(model).state_dict()) == list(Net().state_dict())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_device_and_type_of_the_layer(dtype: torch.dtype) -> None:
    model = Net().to(dtype)
    asr.reparameterize(model, "left.1", "srm")
    assert {tensor.dtype for tensor in model.parameters()} == {dtype}
    meta = Net().to("meta")
    asr.reparameterize(meta, "left.1")
    assert all(tensor.is_meta for tensor in meta.parameters())


def test_values_keep_their_precision_under_autocast() -> None:
    model = Net().eval()
    asr.reparameterize(model, "*.1")
    with torch.autocast("cpu", torch.bfloat16):
        values = asr.values(model)
        half = model(torch.ones(1, 3, 4, 4))
        fused = asr.fuse(model)(torch.ones(1, 3, 4, 4))
    assert all(torch.equal(values[name], value) for name, value in asr.values(model).items())
    assert torch.equal(half, fused)


def shared() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    return model


def old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 4, 1)))


def pruned(tensor: str) -> nn.Module:
    layer = nn.Linear(4, 4)
    prune.l1_unstructured(layer, tensor, 2)
    return nn.Sequential(layer)


class Unlearned(nn.Module):
    """A layer of somebody's own, whose weight is a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(4))


def already() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4))
    asr.reparameterize(model, "0")
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.ReLU()), "the pattern '0' means 0, which is a ReLU; ASR can follow batch"),
        (lambda: nn.Sequential(Unlearned()), "means 0, which is a Unlearned; ASR can follow batch"),
        (lambda: nn.Sequential(nn.BatchNorm2d(4, affine=False)), "0 is a BatchNorm2d without affine parameters"),
        (lambda: nn.Sequential(nn.InstanceNorm2d(4)), "0 is a InstanceNorm2d without affine parameters"),
        (lambda: nn.Sequential(nn.LayerNorm(4, elementwise_affine=False)), "without affine parameters"),
        (lambda: nn.Sequential(nn.LayerNorm((4, 3, 3))), r"0 normalises over \(4, 3, 3\); which of these axes"),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), "0 does not know its size yet; run the model once"),
        (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))), r"already parametrized \(_WeightNorm\)"),
        (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4))), r"parametrized \(_SpectralNorm\)"),
        (old_weight_norm, "0 computes its weight from others"),
        (lambda: pruned("weight"), "0 computes its weight from others"),
        (lambda: pruned("bias"), "0 computes its bias from others"),
        (already, "0 already has ASR; several at one place are copies=2"),
        (shared, "0 shares its weight with another layer"),
        (lambda: nn.Sequential(), "no layer of the model fits the pattern '0'"),
    ],
)
def test_layers_that_cannot_take_it(make, message: str) -> None:
    model = make()
    before = list(model.state_dict())
    with pytest.raises(StripeError, match=message):
        asr.reparameterize(model, "0")
    assert list(model.state_dict()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": "*.7"}, r"fits the pattern '\*.7'; it has, among others, left.1, right.0, right.1, head"),
        ({"where": lambda name, module: False}, "no layer of the model fits the function"),
        ({"where": []}, "no layer in one of the groups"),
        ({"where": [()]}, "no layer in one of the groups"),
        ({"where": [("left.1", "middle.1")]}, "the model has no layer 'middle.1'"),
        ({"where": [("left.1", "head")]}, "same number of channels, but there are left.1 8, head 5"),
        ({"where": ["left.1", "*.1"]}, r"left.1 is named twice as a place of ASR"),
        ({"where": None}, "where ASR goes in a Net is not known.*its last normalisations are left.1, right.1"),
        ({"attention": "sse"}, "unknown attention 'sse'"),
        ({"attention": "none"}, "Identity cannot be used for ASR: it has no method gate"),
        ({"attention": "cbam"}, "use cbam-channel"),
        ({"attention": lambda channels: nn.BatchNorm2d(channels)}, "BatchNorm2d cannot be used for ASR"),
        ({"attention": lambda channels: SE(channels + 1)}, "SE cannot be used for ASR: of a map of one pixel"),
        ({"attention": Everything}, "of a map of one pixel and 8 channels it gives 1 values, not one a channel"),
        ({"attention": Doubling, "activation": "tanh"}, "Doubling has no attribute 'activation'"),
        ({"activation": "sofmax"}, "unknown activation 'sofmax'; there are sigmoid, tanh"),
        ({"copies": 0}, "copies is 0"),
        ({"psi": "X3"}, "psi is 'X3'"),
        ({"psi": "N-1"}, "psi is 'N-1'"),
    ],
)
def test_requests_that_cannot_be(arguments: dict, message: str) -> None:
    model = Net()
    with pytest.raises(StripeError, match=message):
        asr.reparameterize(model, **{"where": "left.1", **arguments})
    assert list(model.state_dict()) == list(Net().state_dict())


def test_a_layer_that_runs_twice_is_no_tied_weight() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model.append(model[0])
    asr.reparameterize(model, "0")
    x = torch.randn(2, 4)
    assert torch.equal(asr.fuse(model)(x), model(x))


@pytest.mark.parametrize("name", [name for name, cls in ATTENTION.items() if cls.kind == "channel"])
def test_a_training_step_changes_the_values(name: str) -> None:
    torch.manual_seed(0)
    model = Net()
    asr.reparameterize(model, "left.1", name, psi=1.0)
    before = asr.values(model)["left.1"].clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    for _ in range(2):
        optimizer.zero_grad()
        with asr.cached():
            loss = model(torch.randn(4, 3, 4, 4)).square().mean()
        loss.backward()
        optimizer.step()
    assert not torch.equal(asr.values(model)["left.1"], before)
