"""Where the constant of a gate goes, in small networks each with one way for the data to flow."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stripe.fold.weights import fold_gates
from stripe.models.surgery import ConstantGate
from tests.conftest import LayerScale

C = 6


class Flow(nn.Module):
    """conv1, whatever the case says, the gate, whatever the case says, conv2."""

    def __init__(self, before=None, after=None, sign: float = 1.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, C, 3)
        self.before = before or nn.Identity()
        self.gate = ConstantGate(sign * (torch.rand(C) + 0.2), -3)
        self.after = after or nn.Identity()
        self.conv2 = nn.Conv2d(C, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.after(self.gate(self.before(self.conv1(x)))))


class Twice(Flow):
    """The map goes somewhere else, too."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv2(self.gate(x)) + x.mean(1, keepdim=True)


class Both(Twice):
    """The product, too."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        y = self.gate(x)
        return self.conv2(y) + y.mean(1, keepdim=True) + x.mean(1, keepdim=True)


class Sum(Flow):
    """Two branches are added, as in RepVGG."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(3, C, 3), nn.BatchNorm2d(C))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(torch.sigmoid(self.gate(F.relu(self.conv1(x) + self.branch(x)))))


class Concatenated(Flow):
    """The map is put together from two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.other = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.gate(torch.cat([self.conv1(x), self.other(x)], 1)))


class Classifier(Flow):
    """The product is pooled and made flat for a linear layer."""

    def __init__(self, size: int) -> None:
        super().__init__(before=nn.SiLU())
        self.size = size
        self.fc = nn.Linear(C * size**2, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.gate(self.before(self.conv1(x)))
        return self.fc(F.adaptive_avg_pool2d(x, self.size).flatten(1))


class Tokens(nn.Module):
    """A map is made into tokens (N, T, C) before the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, C, 3)
        self.gate = ConstantGate(torch.rand(C), -1)
        self.norm = nn.LayerNorm(C)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.gate(self.conv(x).flatten(2).transpose(1, 2)))


class Tied(Flow):
    """The layer that makes the map runs twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(torch.tanh(self.gate(self.conv1(x)))) + self.conv1(x).mean(1, keepdim=True)


class Own(nn.Module):
    """A convolution of somebody's own: the weight is what the function takes, not what a class is called."""

    def __init__(self, function, shape: tuple[int, ...], **kwargs: int) -> None:
        super().__init__()
        self.weight, self.function, self.kwargs = nn.Parameter(torch.randn(shape)), function, kwargs

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight, **self.kwargs)


class Divide(nn.Module):
    """The map is the divisor: the factor's inverse would come out."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.div(torch.ones(C, 1, 1), x.square() + 1)


class Standardised(nn.Module):
    """A convolution whose weight has mean 0 and variance 1, and a gain, as those of normaliser-free networks."""

    def __init__(self, gain: bool = True) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(C, C, 3, 3)), nn.Parameter(torch.randn(C))
        self.gain = nn.Parameter(torch.rand(C, 1, 1, 1)) if gain else None

    def forward(self, x: Tensor) -> Tensor:
        flat = F.batch_norm(
            self.weight.reshape(1, C, -1),
            None,
            None,
            weight=None if self.gain is None else (self.gain * 3).view(-1),
            training=True,
            momentum=0.0,
        )
        return F.conv2d(x, flat.reshape_as(self.weight), self.bias, padding=1)


class GainTimesWeight(Standardised):
    """The same, written out."""

    def forward(self, x: Tensor) -> Tensor:
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, self.gain * centred / self.weight.std((1, 2, 3), keepdim=True), self.bias, padding=1)


class Affine(nn.Module):
    """A normalisation's scale and shift, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(C, 1, 1)), nn.Parameter(torch.rand(C, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x) * self.scale + self.shift


class Scale(Affine):
    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.scale * F.silu(x))


class Stacked(nn.Module):
    """A constant for each of two branches, as in selective kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, C, 3), nn.Conv2d(3, C, 3, bias=False)
        self.gate = ConstantGate(torch.rand(2, C) + 0.1, -3)

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(torch.stack([F.relu(self.conv1(x)), self.conv2(x)], 1)).sum(1)


class Beside(Flow):
    """Behind the gate another map is put beside the product."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(2 * C, 4, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.conv1(x))
        return self.conv2(torch.cat([x, self.gate(x)], 1))


class Part(Flow):
    """Only a part of what a layer makes is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 2 * C, 3)

    def forward(self, x: Tensor) -> Tensor:
        rest, x = self.conv1(x).chunk(2, 1)
        return self.gate(x).sigmoid() + rest


class Gain(Affine):
    """A function that lets no factor pass, behind a scale that can take it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x * self.scale)


class Difference(Sum):
    def forward(self, x: Tensor) -> Tensor:
        total = 0 + self.conv1(x)
        total -= self.branch(x)
        return self.conv2(torch.sigmoid(self.gate(total)))


CASES = {
    "conv": (lambda: Flow(), "backwards", ("conv1",)),
    "batch norm": (lambda: Flow(nn.BatchNorm2d(C)), "backwards", ("before",)),
    "group norm": (lambda: Flow(nn.GroupNorm(2, C)), "backwards", ("before",)),
    "instance norm": (lambda: Flow(nn.InstanceNorm2d(C, affine=True)), "backwards", ("before",)),
    "transposed conv": (lambda: Flow(nn.ConvTranspose2d(C, C, 3, groups=2)), "backwards", ("before",)),
    "grouped conv": (lambda: Flow(nn.Conv2d(C, C, 3, groups=3, bias=False)), "backwards", ("before",)),
    "through ReLU": (lambda: Flow(nn.ReLU(inplace=True)), "backwards", ("conv1",)),
    "through leaky ReLU": (lambda: Flow(nn.LeakyReLU(0.2)), "backwards", ("conv1",)),
    "through PReLU": (lambda: Flow(nn.PReLU(C)), "backwards", ("conv1",)),
    "through max pooling": (lambda: Flow(nn.MaxPool2d(2)), "backwards", ("conv1",)),
    "through average pooling": (lambda: Flow(nn.AvgPool2d(3, 2, 1)), "backwards", ("conv1",)),
    "through dropout": (lambda: Flow(nn.Dropout(0.5)), "backwards", ("conv1",)),
    "own conv": (lambda: Flow(Own(F.conv2d, (C, C, 1, 1))), "backwards", ("before",)),
    "own depthwise conv": (lambda: Flow(nn.SiLU(), Own(F.conv2d, (C, 1, 3, 3), groups=C)), "forwards", ("after",)),
    "own transposed conv": (
        lambda: Flow(nn.SiLU(), Own(F.conv_transpose2d, (C, C // 2, 3, 3), groups=2)),
        "forwards",
        ("after",),
    ),
    "scaled by a parameter": (lambda: Flow(LayerScale(C)), "backwards", ("conv1",)),
    "a divisor": (lambda: Flow(Divide()), "forwards", ("conv2",)),
    "negative, linear": (lambda: Flow(nn.AvgPool2d(2), sign=-1.0), "backwards", ("conv1",)),
    "negative, ReLU": (lambda: Flow(nn.ReLU(), sign=-1.0), "forwards", ("conv2",)),
    "SiLU": (lambda: Flow(nn.SiLU()), "forwards", ("conv2",)),
    "SiLU, ReLU behind": (lambda: Flow(nn.SiLU(), nn.ReLU()), "forwards", ("conv2",)),
    "depthwise behind": (lambda: Flow(nn.SiLU(), nn.Conv2d(C, C, 3, groups=C)), "forwards", ("after",)),
    "groups behind": (lambda: Flow(nn.SiLU(), nn.Conv2d(C, C, 3, groups=2)), "forwards", ("after",)),
    "transposed behind": (lambda: Flow(nn.SiLU(), nn.ConvTranspose2d(C, C, 3, groups=2)), "forwards", ("after",)),
    "padded": (lambda: Flow(nn.SiLU(), nn.ZeroPad2d(2)), "forwards", ("conv2",)),
    "padded with ones": (lambda: Flow(nn.SiLU(), nn.ConstantPad2d(1, 1.0)), "left", ()),
    "SiLU on both sides": (lambda: Flow(nn.SiLU(), nn.SiLU()), "left", ()),
    "weight norm": (lambda: Flow(nn.utils.parametrizations.weight_norm(nn.Conv2d(C, C, 1))), "forwards", ("conv2",)),
    "no affine weights": (lambda: Flow(nn.BatchNorm2d(C, affine=False)), "forwards", ("conv2",)),
    "map used twice": (Twice, "forwards", ("conv2",)),
    "both used twice": (Both, "left", ()),
    "branches": (Sum, "backwards", ("conv1", "branch.1")),
    "concatenation": (Concatenated, "backwards", ("conv1", "other")),
    "flat": (lambda: Classifier(2), "forwards", ("fc",)),
    "pooled and flat": (lambda: Classifier(1), "forwards", ("fc",)),
    "standardised": (lambda: Flow(Standardised()), "backwards", ("before",)),
    "standardised, written out": (lambda: Flow(GainTimesWeight()), "backwards", ("before",)),
    "standardised without a gain": (lambda: Flow(Standardised(gain=False)), "forwards", ("conv2",)),
    "affine by hand": (lambda: Flow(Affine()), "forwards", ("conv2",)),
    "affine by hand, SiLU behind": (lambda: Flow(Affine(), nn.SiLU()), "backwards", ("before",)),
    "scaled between": (lambda: Flow(nn.SiLU(), Scale()), "left", ()),
    "scaled behind": (lambda: Flow(nn.SiLU(), Gain()), "forwards", ("after",)),
    "stacked": (Stacked, "backwards", ("conv1", "conv2")),
    "beside another map": (Beside, "forwards", ("conv2",)),
    "a part": (Part, "backwards", ("conv1",)),
    "difference": (Difference, "backwards", ("conv1", "branch.1")),
    "tokens": (Tokens, "backwards", ("conv",)),
    "layer that runs twice": (Tied, "left", ()),
}


@pytest.mark.parametrize("case", CASES)
def test_constants_go_where_the_data_flows(case: str) -> None:
    make, where, layers = CASES[case]
    model = make().eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    images = torch.randn(3, 3, 9, 9)
    folded = copy.deepcopy(model)
    landing = fold_gates(folded, images)["gate"]
    assert (landing.where, landing.layers) == (where, layers), landing.reason
    with torch.no_grad():
        torch.testing.assert_close(folded(images), model(images), rtol=1e-5, atol=1e-5)
    assert isinstance(folded.gate, ConstantGate) == (where == "left")
    assert bool(landing.reason) == (where == "left")


def test_what_is_in_the_way_is_said() -> None:
    landing = fold_gates(Flow(nn.SiLU(), nn.SiLU()).eval(), torch.randn(2, 3, 9, 9))["gate"]
    assert (
        landing.reason == "backwards: silu in before lets no factor pass; forwards: silu in after lets no factor pass"
    )


class Weighted(nn.Module):
    """x + k x ⊙ v in one of its forms."""

    def __init__(self, form) -> None:
        super().__init__()
        self.conv, self.gate, self.form = nn.Conv2d(3, 2, 3), ConstantGate(torch.tensor([0.5, 3.0]), -3), form

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.form(self.conv(x), self.gate))


@pytest.mark.parametrize(
    ("form", "factor"),
    [
        (lambda x, gate: x + 0.5 * gate(x), [1.25 / 1.5, 2.5 / 1.5]),
        (lambda x, gate: gate(x * 2) + x, [2 / 3, 7 / 3]),
        (lambda x, gate: x - gate(x) / 2, [0.75 / 0.5, -0.5 / 0.5]),
        (lambda x, gate: gate(x / 2) * 4 + x, [2 / 3, 7 / 3]),
    ],
)
def test_a_weighted_gate_beside_its_own_map(form, factor: list[float]) -> None:
    """By hand: (1 + k v) / (1 + k), v = (.5, 3)."""
    model, images = Weighted(form).eval(), torch.randn(2, 3, 9, 9)
    weight = model.conv.weight.clone()
    with torch.no_grad():
        wanted = model(images)
    assert fold_gates(model, images)["gate"].layers == ("conv",)
    torch.testing.assert_close(model.conv.weight, weight * torch.tensor(factor).view(2, 1, 1, 1))
    torch.testing.assert_close(model(images), wanted)


@pytest.mark.parametrize(
    "form", [lambda x, gate: x - gate(x), lambda x, gate: gate(x) - x, lambda x, gate: x / gate(x)]
)
def test_what_would_be_nothing_without_the_gate_is_left(form) -> None:
    model, images = Weighted(form).eval(), torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        wanted = model(images)
    assert fold_gates(model, images)["gate"].where == "left"
    torch.testing.assert_close(model(images), wanted)


def test_two_gates_in_a_row() -> None:
    """The second is in the first one's way until it is folded itself."""
    model = nn.Sequential(
        nn.Conv2d(3, C, 1), ConstantGate(torch.rand(C), -3), ConstantGate(torch.rand(C), -3), nn.SiLU()
    )
    wanted = model(images := torch.randn(2, 3, 5, 5))
    landings = fold_gates(model, images)
    assert [landing.layers for landing in landings.values()] == [("0",), ("0",)]
    torch.testing.assert_close(model(images), wanted)


class Split(nn.Module):
    """The channels go to two layers behind the gate, as in MixNet's blocks."""

    def __init__(self, split) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 3), nn.SiLU()
        self.gate = ConstantGate(torch.tensor([0.5, 2.0, 3.0, -1.0]), -3)
        self.first, self.second, self.split = nn.Conv2d(2, 5, 3), nn.Conv2d(2, 5, 1), split

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.split(self.gate(self.act(self.conv(x))))
        return self.first(first).mean((2, 3)) + self.second(second).mean((2, 3))


@pytest.mark.parametrize(
    "split",
    [
        lambda x: x.split(2, 1),
        lambda x: torch.split(x, [2, 2], dim=1),
        lambda x: x.chunk(2, 1),
        lambda x: torch.chunk(input=x, chunks=2, dim=1),
        lambda x: x.tensor_split(2, dim=1),
        lambda x: x.unflatten(1, (2, 2)).unbind(1),
    ],
)
def test_a_constant_goes_into_each_layer_behind_a_split(split) -> None:
    model, images = Split(split).eval(), torch.randn(2, 3, 9, 9)
    first, second = model.first.weight.clone(), model.second.weight.clone()
    with torch.no_grad():
        wanted = model(images)
    landing = fold_gates(model, images)["gate"]
    assert (landing.where, set(landing.layers)) == ("forwards", {"first", "second"})
    torch.testing.assert_close(model.first.weight, first * torch.tensor([0.5, 2.0]).view(1, 2, 1, 1))
    torch.testing.assert_close(model.second.weight, second * torch.tensor([3.0, -1.0]).view(1, 2, 1, 1))
    torch.testing.assert_close(model(images), wanted, rtol=1e-4, atol=1e-6)


class Residual(nn.Module):
    """x + x ⊙ v, and then a ReLU, which (1 + v) / 2 passes where it is positive."""

    def __init__(self, value: list[float], add) -> None:
        super().__init__()
        self.conv, self.gate, self.add = nn.Conv2d(3, 2, 3), ConstantGate(torch.tensor(value), -3), add
        self.next = nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv(x))
        return self.next(torch.relu(self.add(x, self.gate(x)))).mean((2, 3))


@pytest.mark.parametrize("add", [lambda x, y: x + y, lambda x, y: torch.add(y, x), lambda x, y: y.add_(x)])
def test_a_gate_beside_its_own_map(add) -> None:
    """x (1 + v) = 2x · (1 + v) / 2; of v = (−.5, 3) the next layer takes (.25, 2)."""
    model, images = Residual([-0.5, 3.0], add).eval(), torch.randn(2, 3, 9, 9)
    weight = model.next.weight.clone()
    with torch.no_grad():
        wanted = model(images)
    landing = fold_gates(model, images)["gate"]
    assert (landing.where, landing.layers) == ("forwards", ("next",))
    torch.testing.assert_close(model.next.weight, weight * torch.tensor([0.25, 2.0]).view(1, 2, 1, 1))
    torch.testing.assert_close(model(images), wanted, rtol=1e-4, atol=1e-6)
    assert fold_gates(Residual([-1.5, 3.0], add).eval(), images)["gate"].where == "left"  # ReLU lets no −.25 pass
    assert (
        fold_gates(Residual([0.5, 3.0], lambda x, y: torch.add(x, y, alpha=2)).eval(), images)["gate"].where == "left"
    )


LAYERS = {
    "conv": lambda: nn.Conv2d(C, C, 3, padding=1),
    "depthwise": lambda: nn.Conv2d(C, C, 3, padding=1, groups=C, bias=False),
    "norm": lambda: nn.BatchNorm2d(C),
    "layer norm": lambda: nn.GroupNorm(1, C),
    "standardised": Standardised,
    "relu": nn.ReLU,
    "prelu": lambda: nn.PReLU(C),
    "silu": nn.SiLU,
    "pool": lambda: nn.AvgPool2d(3, 1, 1),
    "max": lambda: nn.MaxPool2d(3, 1, 1),
    "affine": Affine,
    "gain": Gain,
    "scale": lambda: LayerScale(C),
    "shuffle": lambda: nn.ChannelShuffle(2),
    "pad": lambda: nn.ZeroPad2d(1),
    "drop": lambda: nn.Dropout(0.5),
}
CHAINS = st.lists(st.sampled_from(sorted(LAYERS)), max_size=3)


@given(CHAINS, CHAINS, st.booleans(), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_whatever_is_around_a_gate_the_outputs_stay(before, after, positive: bool, seed: int) -> None:
    torch.manual_seed(seed)
    model = Flow(
        nn.Sequential(*(LAYERS[name]() for name in before)),
        nn.Sequential(*(LAYERS[name]() for name in after)),
        sign=1.0 if positive else -1.0,
    ).eval()
    others = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        wanted = model(others)
        landing = fold_gates(model, torch.randn(2, 3, 9, 9))["gate"]
        assert (model(others) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert isinstance(model.gate, ConstantGate) == (landing.where == "left")
