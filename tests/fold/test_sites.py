"""Which sites can be folded, and what is said of the others."""

import math

import pytest
import torch
from torch import Tensor, nn

from stripe import models
from stripe.errors import StripeError
from stripe.fold import fold
from tests.conftest import BranchGate, ExpandedGate, InPlaceGate, Net, SpatialGate, SqueezeExcite

C = 4


class Multiply(nn.Module):
    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * gate


class Helper(SqueezeExcite):
    """The module that multiplies is given the gate: the one around it is the attention."""

    def __init__(self) -> None:
        super().__init__(C)
        self.multiply = Multiply()

    def forward(self, x: Tensor) -> Tensor:
        return self.multiply(x, self.gate(x))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.se = SqueezeExcite(C)

    def forward(self, x: Tensor) -> Tensor:
        return self.se(torch.relu(self.se(x)))


class Often(nn.Module):
    """All of it runs twice, so that no call of the gate stands for itself in a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(C, C, 1), SqueezeExcite(C))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2 if x.sum() < 1e9 else 3):
            x = self.inner(x)
        return x


class GroupedGate(nn.Module):
    """Groups of channels are put into the batch axis (SGE)."""

    def forward(self, x: Tensor) -> Tensor:
        groups = x.view(2 * len(x), C // 2, *x.shape[2:])
        return (groups * groups.mean((2, 3), keepdim=True).sigmoid()).view(x.shape)


def folded(gate: nn.Module, images: Tensor) -> tuple[str, str]:
    row = fold(Net(gate), [images]).sites.iloc[0]
    return row["folded"], row["reason"]


@pytest.mark.parametrize("gate", [SqueezeExcite(C), ExpandedGate(C), InPlaceGate(C), Helper()])
def test_whatever_multiplies_its_input_by_a_gate_is_folded(gate: nn.Module, images: Tensor) -> None:
    net = Net(gate)
    nn.init.zeros_(gate.fc.weight)
    result = fold(net, [images])
    assert result.sites["folded"].tolist() == ["backwards"]
    assert result.sites["into"].tolist() == ["bn"]
    assert isinstance(result.model.att, nn.Identity)
    torch.testing.assert_close(result.model(images), net.eval()(images))


def test_the_model_itself_is_not_changed(images: Tensor) -> None:
    net = Net(SqueezeExcite(C)).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fold(net, [images], win_back=("batchnorm", "bias"), frontier=True, sequential=True)
    assert net.training
    assert isinstance(net.att, SqueezeExcite)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        (SpatialGate(), "a spatial gate is no constant per channel"),
        (Often(), "runs 2 times in one forward pass"),
        (GroupedGate(), "its channels are in groups"),
    ],
)
def test_the_others_are_refused_with_a_reason(gate: nn.Module, reason: str, images: Tensor) -> None:
    with pytest.raises(StripeError, match=f"no site that can be folded fits 'all'; att.*{reason}"):
        fold(Net(gate), [images])


def test_the_others_are_listed_with_their_variation(images: Tensor) -> None:
    net = Net(nn.Sequential(SqueezeExcite(C), SpatialGate())).eval()
    sites = fold(net, [images]).sites.set_index("site")
    assert sites["folded"].tolist() == ["backwards", "not foldable"]
    with torch.no_grad():
        x = net.att[0](net.features(images))
        expected = net.att[1].gate(x).std(0, correction=0).mean()  # mean over positions
    assert sites["std"]["att.1"] == pytest.approx(float(expected), rel=1e-4)
    assert math.isnan(sites["error"]["att.1"])


def test_maps_of_one_pixel() -> None:
    """In the last stage a gate of a 64-pixel image has the map's own shape."""
    model = models.build("torchvision:mobilenet_v3_small")
    result = fold(model, [torch.randn(4, 3, 32, 32)], sites="features.9.*")
    assert result.sites.set_index("site")["folded"]["features.9.block.2"] == "forwards"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype, images: Tensor) -> None:
    net = Net(SqueezeExcite(C)).to(dtype)
    nn.init.zeros_(net.att.fc.weight)
    nn.init.normal_(net.att.fc.bias)
    result = fold(net, [images])
    assert {parameter.dtype for parameter in result.model.parameters()} == {dtype}
    wanted = net.eval()(images.to(dtype))
    assert (result.model(images.to(dtype)) - wanted).abs().max() < 4 * torch.finfo(dtype).eps * wanted.abs().max()


def test_a_module_under_two_names(images: Tensor) -> None:
    net = Net(SqueezeExcite(C))
    net.alias = net.att
    result = fold(net, [images])
    assert isinstance(result.model.alias, nn.Identity)
    assert not [name for name, _ in result.model.named_parameters() if "att" in name or "alias" in name]


def test_attention_that_hands_something_on() -> None:
    """DIA's LSTM goes from block to block; all of it goes."""
    model = models.build("resnet20", attention="dia")
    result = fold(model, [torch.randn(4, 3, 32, 32)])
    assert set(result.sites["folded"]) == {"backwards"}
    assert result.sites["error"].isna().tolist() == 3 * [True, False]  # the second of a stage needs the first
    assert result.model.state_dict().keys() == models.build("resnet20").state_dict().keys()


def test_asr_in_it_is_fused() -> None:
    from stripe import asr

    model = models.build("resnet11", attention="se")
    asr.reparameterize(model)
    assert (
        fold(model, [torch.randn(4, 3, 16, 16)]).model.state_dict().keys()
        == models.build("resnet11").state_dict().keys()
    )


class Outer(SqueezeExcite):
    """A gate that is computed of what another gate made."""

    def __init__(self) -> None:
        super().__init__(C)
        self.inner = SqueezeExcite(C)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.inner(x))


class InnerProduct(SqueezeExcite):
    """The map is multiplied by a gate to compute the gate."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x * self.gate(x))


def test_gates_within_gates(images: Tensor) -> None:
    sites = fold(Net(Outer()), [images]).sites.set_index("site")
    assert sites["folded"].to_dict() == {"att.inner": "not foldable", "att": "backwards"}
    assert sites["reason"]["att.inner"] == "it only helps to compute the gate of another site, with which it goes"
    net = Net(InnerProduct(C)).eval()
    nn.init.normal_(net.att.fc.weight, 0, 3)
    with torch.no_grad():
        x = net.features(images)
        mean = net.att.gate(x * net.att.gate(x)).mean((0, 2, 3))
        for sequential in (False, True):
            folded = fold(net, [images], sequential=sequential).model
            torch.testing.assert_close(folded.bn.weight, net.bn.weight * mean)


class ByKeyword(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.att(x=self.features(x)).mean((2, 3)))


def test_attention_that_is_called_by_keyword(images: Tensor) -> None:
    """A constant gate cannot be called so, but a part of the attention's own forward can be one."""
    net = ByKeyword(SqueezeExcite(C)).eval()
    nn.init.zeros_(net.att.fc.weight)
    result = fold(net, [images], win_back="scale", frontier=True)
    assert result.sites["folded"].tolist() == ["backwards"]
    torch.testing.assert_close(result.model(images), net(images))


def test_a_constant_for_each_call_of_a_shared_module(images: Tensor) -> None:
    """The gates of one module that runs twice have different means."""
    net = Net(Twice()).eval()
    nn.init.normal_(net.att.se.fc.weight, 0, 3)
    result = fold(net, [images])
    assert result.sites["folded"].tolist() == ["backwards", "backwards"]
    assert result.sites["site"].tolist() == ["att.se", "att.se#2"]
    with torch.no_grad():
        x = net.features(images)
        first = net.att.se.gate(x)
        x = torch.relu(x * first)
        second = net.att.se.gate(x)
        wanted = net.fc((torch.relu(net.features(images) * first.mean(0)) * second.mean(0)).mean((2, 3)))
    torch.testing.assert_close(result.model(images), wanted, rtol=1e-4, atol=1e-5)
    assert not [name for name in result.model.state_dict() if "se." in name]


def test_branches_are_left_where_one_map_makes_them_all(images: Tensor) -> None:
    net = Net(BranchGate()).eval()
    result = fold(net, [images])
    assert result.sites["folded"].tolist() == ["left"]
    with torch.no_grad():
        x = torch.stack([net.features(images), net.features(images).flip(1)], 1)
        wanted = net.fc((x * net.att.gate(net.features(images)).mean(0)).sum(1).mean((2, 3)))
    torch.testing.assert_close(result.model(images), wanted)


class Particular(Net):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 9:
            raise ValueError("images have to be of 9 pixels")
        return super().forward(x)


def test_a_network_that_does_not_run(images: Tensor) -> None:
    with pytest.raises(StripeError, match=r"Particular does not run on a batch .* have to be of 9 pixels"):
        fold(Particular(SqueezeExcite(C)), [images])


def test_tensors_of_the_last_training_step(images: Tensor) -> None:
    net = Net(SqueezeExcite(C))
    net.last = net(images)  # has a graph, which cannot be copied
    assert fold(net, [images]).sites["folded"].tolist() == ["backwards"]


def test_no_attention(images: Tensor) -> None:
    with pytest.raises(StripeError, match="no attention that depends on the image"):
        fold(Net(nn.Identity()), [images])


def test_images_that_can_be_gone_through_once(images: Tensor) -> None:
    with pytest.raises(StripeError, match="calibration images can be gone through once only"):
        fold(Net(SqueezeExcite(C)), iter([images]))


def test_no_images() -> None:
    with pytest.raises(StripeError, match="there are no calibration images"):
        fold(Net(SqueezeExcite(C)), [])


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([torch.zeros(3, 8, 8)])


def test_images_without_a_length() -> None:
    with pytest.raises(StripeError, match="calibration images have no length"):
        fold(Net(SqueezeExcite(C)), torch.utils.data.DataLoader(Endless()))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 10]), "go from 0 to 10, and the model has 10 classes"),
        (torch.tensor([-1, 3]), "go from -1 to 3"),
        (torch.tensor([[0], [1]]), r"are 2×1 \(torch.int64\); \(N,\) numbers of classes"),
        (torch.eye(10)[:2], r"are 2×10 \(torch.float32\)"),
        (torch.tensor([0.0, 1.0]), r"are 2 \(torch.float32\)"),
    ],
)
def test_labels_that_are_none(labels: Tensor, message: str, images: Tensor) -> None:
    with pytest.raises(StripeError, match=message):
        fold(Net(SqueezeExcite(C)), [(images[:2], labels)])


def test_batches_with_and_without_labels(images: Tensor) -> None:
    with pytest.raises(StripeError, match="some batches of the calibration images have labels and some have none"):
        fold(Net(SqueezeExcite(C)), [images, (images[:2], torch.tensor([0, 1]))])


def test_damaged_weights(images: Tensor) -> None:
    net = Net(SqueezeExcite(C))
    nn.init.constant_(net.fc.weight, math.nan)
    with pytest.raises(StripeError, match="outputs are not all finite numbers; its weights may be damaged"):
        fold(net, [images])


def test_unknown_sites_and_steps(images: Tensor) -> None:
    with pytest.raises(StripeError, match=r"no site that can be folded fits 'layer\*'; there are att"):
        fold(Net(SqueezeExcite(C)), [images], sites="layer*")
    with pytest.raises(StripeError, match="no sites are named"):
        fold(Net(SqueezeExcite(C)), [images], sites=[])
    with pytest.raises(StripeError, match="a budget of -1 points cannot be kept"):
        fold(Net(SqueezeExcite(C)), [images], budget=-1)
    with pytest.raises(StripeError, match="'magic' wins nothing back; there are scale, batchnorm, bias"):
        fold(Net(SqueezeExcite(C)), [images], win_back="magic")
