import copy
import subprocess
import sys

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from stripe.capture import Site, discover, discover_unbuilt
from stripe.errors import StripeError
from tests.conftest import BranchGate, ExpandedGate, InPlaceGate, LayerScale, Net, SpatialGate, SqueezeExcite


def only(sites: list[Site]) -> Site:
    assert len(sites) == 1, sites
    return sites[0]


class TokenGate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens * tokens.mean(1, keepdim=True).sigmoid()  # (N, 1, C): channel
        tokens = tokens * tokens.mean(2, keepdim=True).sigmoid()  # (N, T, 1): spatial
        return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


class StripGate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean(3, keepdim=True).sigmoid() * x.mean(2, keepdim=True).sigmoid()


class ChannelsLastGate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1)
        return (y * y.mean((1, 2), keepdim=True)).permute(0, 3, 1, 2)


class GroupedGate(nn.Module):
    """Groups folded into the batch axis, as in shuffle attention."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(n * 2, c // 2, h, w)
        return (y * y.mean((2, 3), keepdim=True)).reshape(n, c, h, w)


class SampleGate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((1, 2, 3), keepdim=True)


class NoGradGate(SqueezeExcite):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


class DetachedGate(SqueezeExcite):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.detach())


class ChannelsLastSpatialGate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1)
        return (y * y.mean(3, keepdim=True)).permute(0, 3, 1, 2)


class FlippedCopies(SqueezeExcite):
    """Twice as many rows, but those of an image don't lie side by side."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(torch.cat([x, x.flip(-1)]))
        return y[: len(x)] + y[len(x) :]


class OuterProduct(nn.Module):
    """Two gates multiplied with each other (as in BAM) gate nothing."""

    def forward(self, x: Tensor) -> Tensor:
        channel, spatial = x.mean((2, 3), keepdim=True).expand_as(x), x.mean(1, keepdim=True).expand_as(x)
        return x + channel * spatial


@pytest.mark.parametrize(
    ("gate", "kind", "dims", "shape"),
    [
        (SqueezeExcite(4), "channel", ("channel",), (4,)),
        (ExpandedGate(4), "channel", ("channel",), (4,)),
        (InPlaceGate(4), "channel", ("channel",), (4,)),
        (ChannelsLastGate(), "channel", ("channel",), (4,)),
        (GroupedGate(), "channel", ("channel",), (4,)),
        (SpatialGate(), "spatial", ("height", "width"), (8, 6)),
        (BranchGate(), "branch", ("branch", "channel"), (2, 4)),
        (SampleGate(), "sample", (), ()),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_kind_and_shape(gate: nn.Module, kind: str, dims: tuple[str, ...], shape: tuple[int, ...]) -> None:
    site = only(discover(Net(gate), torch.rand(2, 3, 8, 6)))
    assert (site.name, site.kind, site.dims, site.shape) == ("att", kind, dims, shape)
    assert site.input_dependent
    assert site.owner == type(gate).__name__


def test_tokens_and_strips() -> None:
    tokens = discover(Net(TokenGate()), torch.rand(2, 3, 8, 6))
    assert [(s.name, s.kind, s.dims, s.shape) for s in tokens] == [
        ("att", "channel", ("channel",), (4,)),
        ("att#2", "spatial", ("token",), (48,)),
    ]
    strips = discover(Net(StripGate()), torch.rand(2, 3, 8, 6))
    assert [(s.kind, s.dims, s.shape) for s in strips] == [
        ("strip", ("channel", "height"), (4, 8)),
        ("strip", ("channel", "width"), (4, 6)),
    ]


def test_constant_factor_is_listed_apart() -> None:
    site = only(discover(Net(LayerScale(4)), torch.rand(2, 3, 8, 8)))
    assert site.kind == "channel"
    assert not site.input_dependent


def test_gate_with_dead_relus_depends_on_the_input() -> None:
    """Comparing two images would call it constant."""

    class Dead(SqueezeExcite):
        def gate(self, x: Tensor) -> Tensor:
            return torch.relu(-1e6 + self.fc(x.mean((2, 3), keepdim=True)))

    assert only(discover(Net(Dead(4)), torch.rand(2, 3, 8, 8))).input_dependent


@pytest.mark.parametrize("gate", [OuterProduct(), nn.SiLU(), nn.Identity()])
def test_no_site(gate: nn.Module) -> None:
    assert discover(Net(gate), torch.rand(2, 3, 8, 8)) == []


def test_module_that_runs_twice_has_two_sites() -> None:
    class Twice(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.att(self.att(self.features(x))).mean((2, 3)))

    sites = discover(Twice(SqueezeExcite(4)), torch.rand(2, 3, 8, 8))
    assert [(s.name, s.call) for s in sites] == [("att", 0), ("att#2", 1)]


def test_single_pixel_maps_are_resolved_on_larger_images() -> None:
    """Gate and map have the same shape there; a swish inside the gate must not be taken for one."""

    class SwishGate(SqueezeExcite):
        def gate(self, x: Tensor) -> Tensor:
            y = self.fc(x.mean((2, 3), keepdim=True))
            return torch.sigmoid(y * torch.sigmoid(y))

    class Small(Net):
        def features(self, x: Tensor) -> Tensor:
            return nn.functional.avg_pool2d(super().features(x), 8)

    site = only(discover(Small(SwishGate(4)), torch.rand(2, 3, 8, 8)))
    assert (site.kind, site.map_shape, site.product) == ("channel", (4, 1, 1), 1)


def test_one_image_is_enough(se_net: Net) -> None:
    assert only(discover(se_net, torch.rand(1, 3, 8, 8))).map_shape == (4, 8, 8)


def test_model_is_left_as_it_was(images: Tensor) -> None:
    model = Net(SqueezeExcite(4)).train()
    model.bn.eval()
    model.fc.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    discover(model, images)
    assert model.training
    assert model.att.training
    assert not model.bn.training
    assert not model.fc.weight.requires_grad
    assert model.conv.weight.requires_grad
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_hooks_are_removed_after_an_error(images: Tensor) -> None:
    class Broken(SqueezeExcite):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no such thing")

    model = Net(Broken(4))
    with pytest.raises(StripeError, match=r"does not run on a batch of images of shape 6×3×8×8 .*: no such thing"):
        discover(model, images)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_wrappers(se_net: Net, images: Tensor) -> None:
    expected = discover(se_net, images)
    assert discover(nn.DataParallel(se_net), images) == expected
    assert discover(torch.compile(se_net), images) == expected
    with pytest.raises(StripeError, match="TorchScript"):
        discover(torch.jit.trace(se_net, images), images)


@pytest.mark.parametrize(
    ("build", "count", "kind", "owner"),
    [
        (lambda: torchvision.models.efficientnet_b0(), 16, "channel", "SqueezeExcitation"),
        (lambda: torchvision.models.mobilenet_v3_large(), 8, "channel", "SqueezeExcitation"),
        (lambda: torchvision.models.regnet_y_400mf(), 16, "channel", "SqueezeExcitation"),
        (lambda: timm.create_model("seresnet50"), 16, "channel", "SEModule"),
        (lambda: timm.create_model("ecaresnet26t"), 8, "channel", "EcaModule"),
        (lambda: timm.create_model("skresnet18"), 8, "branch", "SelectiveKernel"),
        (lambda: timm.create_model("resnest14d"), 4, "branch", "SplitAttn"),
        (lambda: timm.create_model("coatnet_0_224"), 5, "channel", "SEModule"),
    ],
)
def test_third_party_models(build, count: int, kind: str, owner: str) -> None:
    """Counts are those of the blocks in the architectures' papers (one gate a block that has one)."""
    sites = discover_unbuilt(build, (2, 3, 224, 224))
    assert len(sites) == count
    assert {(s.kind, s.owner, s.input_dependent) for s in sites} == {(kind, owner, True)}


@pytest.mark.parametrize(
    "build", [lambda: torchvision.models.resnet18(), lambda: timm.create_model("vit_tiny_patch16_224")]
)
def test_third_party_models_without_attention_sites(build) -> None:
    assert discover_unbuilt(build, (2, 3, 224, 224)) == []


def test_unbuilt_falls_back_to_real_weights() -> None:
    class NeedsValues(Net):
        def __init__(self) -> None:
            super().__init__(SqueezeExcite(4))
            assert self.conv.weight.abs().sum().item() > 0

    assert only(discover_unbuilt(NeedsValues, (2, 3, 8, 8))).name == "att"


def test_import_is_cheap() -> None:
    code = "import sys, stripe.cli; assert 'torch' not in sys.modules and 'xarray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("gate", [NoGradGate(4), DetachedGate(4)])
def test_gates_outside_the_graph(gate: nn.Module) -> None:
    """Autograd is blind there; two different images are not."""
    assert only(discover(Net(gate), torch.rand(2, 3, 8, 8))).input_dependent


def test_spatial_gate_in_channels_last_code() -> None:
    site = only(discover(Net(ChannelsLastSpatialGate()), torch.rand(2, 3, 8, 8)))
    assert (site.kind, site.dims, site.shape) == ("spatial", ("height", "width"), (8, 8))


def test_batch_axis_that_mixes_images_is_left_out_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    assert discover(Net(FlippedCopies(4)), torch.rand(2, 3, 8, 8)) == []
    assert "att mixes images" in caplog.text


def test_any_error_of_the_model_is_a_sentence(images: Tensor) -> None:
    class TakesAnother(Net):
        def forward(self, x: Tensor) -> Tensor:
            return x.tensors  # type: ignore[attr-defined,no-any-return]

    with pytest.raises(StripeError, match=r"TakesAnother does not run .*AttributeError"):
        discover(TakesAnother(SqueezeExcite(4)), images)
    with pytest.raises(StripeError, match=r"uint8 .*preprocess="):
        discover(Net(SqueezeExcite(4)), images.byte())


def test_modules_that_do_something_in_train_are_asked_to(images: Tensor) -> None:
    """Such as LoRA layers, which merge their weights in eval() and part them in train()."""

    class Merging(SqueezeExcite):
        merged = False

        def train(self, mode: bool = True) -> "Merging":
            self.merged = not mode
            return super().train(mode)  # type: ignore[return-value]

    model = Net(Merging(4)).train()
    discover(model, images)
    assert not model.att.merged
    assert model.att.training


RESIDUAL = {
    "x + x * v": (lambda x, v: x + x * v, True),
    "x * v + x": (lambda x, v: x * v + x, True),
    "x.addcmul": (lambda x, v: torch.addcmul(x, x, v), True),
    "in place": (lambda x, v: (x * v).add_(x), True),
    "dropout between": (lambda x, v: x + torch.nn.functional.dropout(x * v, 0.5, training=False), True),
    "x * v": (lambda x, v: x * v, False),
    "x * (1 + v)": (lambda x, v: x * (1 + v), False),
    "another map": (lambda x, v: x.flip(1) + x * v, False),
    "a multiple": (lambda x, v: torch.add(x, x * v, alpha=0.5), False),
    "squashed between": (lambda x, v: x + torch.relu_(x * v - 1), False),
    "squashed in place": (lambda x, v: x + (x * v).relu_(), False),
    "taken away": (lambda x, v: x - x * v, False),
}


@pytest.mark.parametrize("form", RESIDUAL)
def test_a_product_that_is_added_to_its_map_is_a_residual_gate(form: str, images: Tensor) -> None:
    combine, expected = RESIDUAL[form]

    class Gate(SqueezeExcite):
        def forward(self, x: Tensor) -> Tensor:
            return combine(x, self.gate(x))

    (site,) = discover(Net(Gate(4)).eval(), images)
    assert site.residual is expected


def test_products_of_single_numbers_are_no_sites() -> None:
    """Detectors compute with the sizes of boxes and images, which have no axes at all."""

    class Numbers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x.mean() * x.std()

    assert discover(Net(Numbers()), torch.rand(2, 3, 8, 8)) == []
