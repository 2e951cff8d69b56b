"""Folding gives the same in every mode, for every form of batches and outputs, and says what it does not take."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stripe.errors import StripeError
from stripe.fold import FoldResult, fold
from stripe.fold.finetuning import Finetune
from tests.conftest import Net, SqueezeExcite
from tests.foreign import BATCHES, MODES, OUTPUTS, WAYS, Se, ambient, plain

WAYS_BACK = ("scale", "batchnorm", "bias")


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    return [(torch.rand(6, 3, 8, 8), torch.arange(6)) for _ in range(2)]


def same(result: FoldResult, wanted: FoldResult) -> None:
    assert result.sites["folded"].tolist() == wanted.sites["folded"].tolist() == ["backwards"]
    for column in ("accuracy", "loss", "error"):
        assert result.steps[column].tolist() == pytest.approx(wanted.steps[column].tolist(), rel=1e-4, abs=1e-6)
    for name, tensor in wanted.model.state_dict().items():
        torch.testing.assert_close(result.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_in_every_mode(mode: str, batches) -> None:
    net = Se().eval()
    wanted = fold(net, batches, win_back=WAYS_BACK, sequential=True)
    with ambient(mode):
        made = [(images.clone(), labels.clone()) for images, labels in batches]  # in inference mode: its tensors
        same(fold(net, made, win_back=WAYS_BACK, sequential=True), wanted)


@pytest.mark.parametrize("mode", MODES)
def test_training_in_every_mode(mode: str, batches) -> None:
    net = Se().eval()
    torch.manual_seed(1)  # the attention of an ASR is drawn
    wanted = fold(net, batches, finetuning=Finetune(batches, 1))
    torch.manual_seed(1)
    with ambient(mode):
        same(fold(net, batches, finetuning=Finetune(batches, 1)), wanted)


@pytest.mark.parametrize("form", BATCHES)
def test_every_form_of_batches(form: str, batches) -> None:
    net = Se().eval()
    given = [BATCHES[form](images, labels) for images, labels in batches]
    same(fold(net, given, win_back=WAYS_BACK), fold(net, batches, win_back=WAYS_BACK))


def test_batches_of_named_inputs(batches) -> None:
    net = OUTPUTS["Dataclass"]().eval()
    given = [{"pixel_values": images, "labels": labels} for images, labels in batches]
    same(fold(net, given, win_back=WAYS_BACK, sequential=True), fold(plain(net), batches, win_back=WAYS_BACK))


@pytest.mark.parametrize("form", OUTPUTS)
def test_every_form_of_outputs(form: str, batches) -> None:
    net = OUTPUTS[form]().eval()
    how: dict[str, Any] = {"win_back": WAYS_BACK, "sequential": True, "finetuning": Finetune(batches, 1)}
    torch.manual_seed(1)
    result = fold(net, batches, **how)
    torch.manual_seed(1)
    same(result, fold(plain(net), batches, **how))


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"WithAutocast", "Reentrant"}))
def test_every_way_to_write_a_network(way: str, batches) -> None:
    net = WAYS[way]().eval()
    net(batches[0][0].clone())
    before = [images.clone() for images, _ in batches]
    result = fold(net, batches, win_back=WAYS_BACK, frontier=True)
    assert all(torch.equal(images, kept) for (images, _), kept in zip(batches, before, strict=True))
    same(result, fold(plain(net), batches, win_back=WAYS_BACK))


def test_autocast_of_the_network_itself(batches) -> None:
    """It is tried in float64, which autocast leaves alone, and timed where the network runs it: in bfloat16."""
    net = WAYS["WithAutocast"]().eval()
    seen = []
    net.att.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    result = fold(net, batches)
    assert result.sites["folded"].tolist() == ["backwards"]
    assert result.sites["milliseconds"][0] > 0
    assert set(seen) == {torch.bfloat16, torch.float64} or set(seen) == {torch.bfloat16}
    assert result.steps["error"].iloc[-1] < 0.5


class Rounded(Se):
    """Computes part of it in single precision, whatever its weights are in."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x).float().to(x.dtype)


class Half(Se):
    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float16
        return super().forward(x)


def test_precisions(batches) -> None:
    assert fold(Rounded().eval(), batches).sites["folded"].tolist() == ["backwards"]
    assert fold(Half().half().eval(), batches).sites["into"].tolist() == ["bn"]
    assert fold(Se().double().eval(), batches).model.conv.weight.dtype == torch.float64


@pytest.mark.parametrize("one", [lambda net: net, lambda net: nn.Sequential(net, nn.Flatten(0))])
@pytest.mark.parametrize("as_float", [False, True])
def test_one_logit(one, as_float: bool, batches) -> None:
    """Class 1 where the logit is positive; the loss is the binary cross-entropy."""
    net = Se().eval()
    net.fc = nn.Linear(4, 1)
    images, labels = batches[0][0], torch.tensor([0, 1, 0, 1, 1, 1])
    result = fold(one(net), [(images, labels[:, None].float() if as_float else labels)])
    with torch.no_grad():
        logits = net(images)[:, 0]
    right = ((logits > 0).long() == labels).float().mean()
    loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    assert result.steps["accuracy"][0] == pytest.approx(100 * float(right))
    assert result.steps["loss"][0] == pytest.approx(float(loss), rel=1e-5)


class Scalar(Se):
    """A second gate, one number an image."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.att(self.features(x))
        return self.fc((x * x.mean((1, 2, 3), keepdim=True).sigmoid()).mean((2, 3)))


def test_one_number_an_image_is_no_constant_per_channel(batches) -> None:
    sites = fold(Scalar().eval(), batches).sites
    assert sites["folded"].tolist() == ["backwards", "not foldable"]
    assert sites["reason"][1] == "a sample gate is no constant per channel"


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True).sigmoid()


def parameterless() -> nn.Module:
    return nn.Sequential(Mean(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Tied(Se):
    """The layer that could take the constant is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.conv2 = nn.Identity(), nn.Conv2d(4, 4, 3, padding=1)
        self.conv3 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv3.weight = self.conv2.weight

    def features(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv(x)))


def wrapped(wrap) -> Net:
    net = Se()
    net.bn, net.conv = nn.Identity(), wrap(net.conv)
    return net.eval()


@pytest.mark.parametrize(
    "make",
    [
        parameterless,
        lambda: Tied().eval(),
        lambda: wrapped(nn.utils.spectral_norm),
        lambda: wrapped(nn.utils.parametrizations.spectral_norm),
        lambda: wrapped(nn.utils.parametrizations.weight_norm),
    ],
)
def test_weights_that_are_computed_or_shared_are_left_alone(make, batches) -> None:
    net = make()
    result = fold(net, [images for images, _ in batches])
    assert result.sites["folded"][0] in ("left", "forwards")
    images = batches[0][0]
    assert result.steps["error"].iloc[-1] == pytest.approx(result.steps["error"].iloc[1], abs=1e-5)
    with torch.no_grad():
        assert result.model(images).shape == net(images).shape


class Complex(Se):
    def forward(self, x: Tensor) -> Any:
        return torch.complex(super().forward(x), super().forward(x))


class Growing(Se):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, : len(x)]


def shuffled() -> DataLoader:
    return DataLoader(TensorDataset(torch.rand(6, 3, 8, 8)), 3, shuffle=True)


IMAGES = torch.rand(4, 3, 8, 8)


@pytest.mark.parametrize(
    ("net", "given", "message"),
    [
        (
            lambda: Net(nn.Sequential(nn.LazyConv2d(4, 1), SqueezeExcite(4))),
            [IMAGES],
            "has no shape before the network",
        ),
        (lambda: Se().to("meta"), [IMAGES], "conv.weight is on the meta device"),
        (Complex, [IMAGES], "the model returns no floating-point numbers"),
        (Growing, [IMAGES, IMAGES[:2]], "another number of scores for another batch"),
        (Se, [IMAGES.byte()], "calibration images are torch.uint8; floating-point numbers are wanted"),
        (Se, IMAGES, "calibration images are a Tensor; give a DataLoader or a list of batches"),
        (Se, 5, "calibration images are a int"),
        (Se, [None], "gives no images"),
        (Se, [IMAGES[:0]], "there are no calibration images"),
        (Se, ["images"], "The loader gives str"),
        (Se, (IMAGES for _ in range(2)), "can be gone through once only"),
        (Se, [[torch.rand(3, 8, 8), torch.rand(3, 9, 9)]], "have different sizes"),
        (Se, shuffled(), "are shuffled anew each time"),
        (Se, [IMAGES[:, :1]], "Se does not run on a batch of images"),
        (lambda: "a network", [IMAGES], "a str is no network"),
    ],
)
def test_what_is_not_taken_is_said(net, given, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        fold(net(), given)


def test_batches_of_several_sizes_and_of_one_image() -> None:
    given = [torch.rand(1, 3, 8, 8), torch.rand(4, 3, 10, 12), torch.rand(2, 3, 9, 9)]
    result = fold(Se().eval(), given, win_back=WAYS_BACK)
    assert result.sites["folded"].tolist() == ["backwards"]
    assert fold(Se().eval(), given[:1]).sites["folded"].tolist() == ["backwards"]


def test_agreement_with_the_network_with_attention(batches) -> None:
    """By hand: the share of images whose highest logit is where it was; labels are not looked at."""
    net = Se().eval()
    for _, labels in batches:
        labels += 500
    result = fold(net, batches, measure="agreement", budget=100, frontier=True)
    images = torch.cat([images for images, _ in batches])
    gated = copy.deepcopy(net)
    with torch.no_grad():
        mean = net.att.gate(net.features(images)).mean(0)
        gated.att.gate = lambda x: mean
        agreed = (gated(images).argmax(1) == net(images).argmax(1)).float()
    assert result.steps.columns.tolist() == ["step", "agreement", "uncertainty", "loss", "error", "kept"]
    assert result.steps["agreement"].tolist() == pytest.approx([100, *2 * [100 * float(agreed.mean())]])
    assert result.steps["loss"].isna().all()
    assert result.sites["agreement_change"][0] == pytest.approx(100 * float(agreed.mean()) - 100)
    assert result.steps["uncertainty"].iloc[1] == pytest.approx(100 * float(agreed.std(correction=0)) / 12**0.5)
    assert "accuracy" not in result.frontier
    with pytest.raises(StripeError, match="'taste' cannot be measured; there are accuracy, agreement"):
        fold(net, batches, measure="taste")


def test_a_budget_of_agreement_needs_no_labels(batches) -> None:
    result = fold(Se().eval(), [images for images, _ in batches], measure="agreement", budget=0)
    assert result.steps["agreement"].iloc[-1] == 100
