"""Where the gate ignores its input, folding changes nothing, whatever the weights are; nor does it after constants."""

import copy
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timm.models.efficientnet import _gen_efficientnet, _gen_mixnet_s
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.segmentation.deeplabv3 import _deeplabv3_mobilenetv3
from torchvision.models.segmentation.lraspp import _lraspp_mobilenetv3

from stripe import models
from stripe.adapter import batch_of, run, tensors_of
from stripe.capture import Recorder
from stripe.fold import fold
from stripe.fold.calibration import calibrate
from stripe.fold.sample import Sample
from stripe.fold.sites import find_foldable, gated, outline_places, put_gates
from stripe.fold.weights import fold_gates
from stripe.models.surgery import ConstantGate

SIZE = 64

# Networks are narrow: what is tried in float64 is the same, and takes a fraction of the time.
NARROW = {"channels": (16, 32, 48, 64)}


def efficientnet() -> nn.Module:
    """torchvision's EfficientNet-B0 (table 1 of its paper) with a quarter of the channels."""
    blocks = [(1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 3)]
    blocks += [(6, 5, 1, 80, 112, 3), (6, 5, 2, 112, 192, 4), (6, 3, 1, 192, 320, 1)]
    return EfficientNet([MBConvConfig(*block, width_mult=0.25, depth_mult=1.0) for block in blocks], dropout=0.2)


def ours(spec: str, attention: str = "none", **args: Any) -> Callable[[], nn.Module]:
    return partial(models.build, spec, attention=attention, args=args)


# network → how to build it, and how many sites are folded backwards, forwards, left, and how many cannot be
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int, int]]] = {
    "timm:seresnet50": (ours("timm:seresnet50", **NARROW), (16, 0, 0, 0)),
    "timm:ecaresnet26t": (ours("timm:ecaresnet26t", **NARROW), (8, 0, 0, 0)),
    "timm:efficientnet_b0": (partial(_gen_efficientnet, "efficientnet_b0", channel_multiplier=0.25), (0, 16, 0, 0)),
    "timm:mobilenetv3_small_050": (ours("timm:mobilenetv3_small_050"), (1, 8, 0, 0)),
    "timm:regnety_002": (ours("timm:regnety_002"), (13, 0, 0, 0)),
    "timm:repvit_m0_9": (ours("timm:repvit_m0_9", embed_dim=(16, 24, 32, 40)), (10, 0, 0, 0)),
    "timm:resnet26 with cbam": (
        partial(timm.create_model, "resnet26", block_args={"attn_layer": "cbam"}, **NARROW),
        (8, 0, 0, 8),
    ),
    "timm:nf_ecaresnet26": (ours("timm:nf_ecaresnet26", channels=(64, 128, 192, 256)), (8, 0, 0, 0)),
    "torchvision:efficientnet_b0": (efficientnet, (0, 16, 0, 0)),
    "torchvision:mobilenet_v3_large": (ours("torchvision:mobilenet_v3_large", width_mult=0.25), (3, 5, 0, 0)),
    "torchvision:regnet_y_400mf": (ours("torchvision:regnet_y_400mf"), (16, 0, 0, 0)),
    "resnet29+se": (ours("resnet29", "se"), (9, 0, 0, 0)),
    "resnet29+eca": (ours("resnet29", "eca"), (9, 0, 0, 0)),
    "resnet29+cbam": (ours("resnet29", "cbam"), (9, 0, 0, 9)),
    "repvgg_a0+se": (ours("repvgg_a0", "se"), (22, 0, 0, 0)),
}


def randomise(model: nn.Module) -> None:
    """Nothing is trivially an identity."""
    for norm in model.modules():
        if isinstance(norm, _BatchNorm):
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.3)


def make_constant(attention: nn.Module) -> None:
    """The last layer of the gate gets no weights, only a random bias."""
    last = [layer for layer in attention.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    last.bias = nn.Parameter(torch.randn(len(last.weight)))


@pytest.mark.parametrize("name", NETWORKS)
def test_constant_gates_fold_exactly(name: str) -> None:
    @settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**31))
    def check(seed: int) -> None:
        torch.manual_seed(seed)
        build, wanted_counts = NETWORKS[name]
        size = SIZE if ":" in name else 32  # our own do not begin with strides
        images = torch.randn(2, 3, size, size)
        model = build().eval()
        randomise(model)
        places, reasons, sites = find_foldable(model, images)
        for place in places:
            make_constant(model.get_submodule(place.module))
        with torch.no_grad():
            wanted = model(images)
        moments = calibrate(model, sites, Sample([images], model, "images"))
        put_gates(model, places, {place.site.name: moments[place.site.name].mean for place in places})
        landings = fold_gates(model, images)
        with torch.no_grad():
            assert (model(images) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
        counts = Counter(landing.where for landing in landings.values())
        assert (counts["backwards"], counts["forwards"], counts["left"], len(reasons)) == wanted_counts
        left = [module for module in model.modules() if isinstance(module, ConstantGate)]
        assert len(left) == counts["left"]

    check()


def test_the_attention_is_gone() -> None:
    """The folded network has the plain one's parameters, name by name."""
    plain, model = models.build("resnet29"), models.build("resnet29", attention="se")
    folded = fold(model, [torch.randn(2, 3, 32, 32)]).model
    assert {name: p.shape for name, p in folded.named_parameters()} == {
        name: p.shape for name, p in plain.named_parameters()
    }


class TwoConvs(nn.Module):
    def __init__(self, channels: int, out: int, attention: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
        )
        self.attention = attention(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.convs(x))


class Excite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3), keepdim=True))


class Residual(Excite):
    """x + x · g."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Both(nn.Module):
    """scSE: x · c + x · s(x), of Roy et al. (2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())
        self.space = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.channel(x) + x * self.space(x)


class UNet(nn.Module):
    """An encoder with residual gates, and a decoder with any."""

    def __init__(self, attention: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.down1, self.down2 = TwoConvs(3, 8, Residual), TwoConvs(8, 12, Residual)
        self.up, self.head = TwoConvs(20, 8, attention), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        skip = self.down1(x)
        deep = nn.functional.interpolate(self.down2(nn.functional.max_pool2d(skip, 2)), scale_factor=2)
        return {"out": self.head(self.up(torch.cat([skip, deep], 1)))}


class Gated(nn.Module):
    """Gates of one map multiply another, as in attention U-Nets and BiSeNet's fusion."""

    def __init__(self) -> None:
        super().__init__()
        self.shallow, self.deep = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()), nn.Conv2d(3, 8, 5, 4, 2)
        self.fc, self.head = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        shallow, deep = self.shallow(x), self.deep(x)
        fused = shallow * self.fc(deep.mean((2, 3), keepdim=True)).sigmoid()
        return [self.head(fused)]


class Shared(nn.Module):
    """One gate for all blocks, as in DIA."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.se, self.fc = nn.Conv2d(3, 8, 3, 2), Excite(8), nn.Linear(8, 5)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = (x + self.se(block(x))).relu()
        return self.fc(x.mean((2, 3)))


def detector() -> nn.Module:
    return torchvision.models.detection.fasterrcnn_mobilenet_v3_large_fpn(
        weights=None,
        weights_backbone=None,
        min_size=64,
        max_size=96,
        rpn_pre_nms_top_n_test=50,
        rpn_post_nms_top_n_test=20,
    )


def images_of_two_sizes() -> list[Tensor]:
    return [torch.rand(3, 64, 80), torch.rand(3, 70, 64)]


def mobilenet() -> nn.Module:
    return torchvision.models.mobilenet_v3_large(dilated=True, width_mult=0.25)


# network → how to build it, and how many sites are folded backwards, forwards, left, and how many cannot be
OTHERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int, int]]] = {
    "lraspp": (lambda: _lraspp_mobilenetv3(mobilenet(), 21), (4, 5, 0, 0)),
    "deeplabv3": (lambda: _deeplabv3_mobilenetv3(mobilenet(), 21, None), (3, 5, 0, 0)),
    "fasterrcnn": (detector, (3, 5, 0, 0)),
    "mixnet_s": (lambda: _gen_mixnet_s("mixnet_s", channel_multiplier=0.25), (0, 13, 0, 0)),
    "skresnet18": (lambda: timm.create_model("skresnet18", **NARROW), (8, 0, 0, 0)),
    "resnest14d": (lambda: timm.create_model("resnest14d", **NARROW), (4, 0, 0, 0)),
    "convnextv2_atto": (
        lambda: timm.create_model("convnextv2_atto", depths=(1,) * 4, dims=(8, 16, 24, 32)),
        (0, 4, 0, 0),
    ),
    "eca_nfnet": (lambda: timm.create_model("eca_nfnet_l0", depths=(1, 1, 1, 1)), (4, 0, 0, 0)),
    "residual gates": (lambda: UNet(Residual), (3, 0, 0, 0)),
    "scSE": (lambda: UNet(Both), (2, 0, 1, 1)),
    "gates of another map": (Gated, (1, 0, 0, 0)),
    "shared SE": (Shared, (3, 0, 0, 0)),
}


def randomise_all(model: nn.Module) -> None:
    """What starts as zeros or ones (the scale of a residual branch, a response normalisation) is none, either."""
    randomise(model)
    for parameter in model.parameters():
        if parameter.numel() and bool((parameter == parameter.flatten()[0]).all()):
            nn.init.normal_(parameter, 1.0, 0.3)


@pytest.mark.parametrize("name", OTHERS)
def test_constants_in_the_weights_are_constants_in_their_place(name: str) -> None:
    torch.manual_seed(0)
    build, wanted = OTHERS[name]
    model = build().eval()
    randomise_all(model)
    size = SIZE if name == "skresnet18" else 32
    images = images_of_two_sizes() if name == "fasterrcnn" else torch.randn(2, 3, size, size)
    places, reasons, _ = find_foldable(model, images)
    with torch.no_grad(), Recorder(model, [place.site for place in places], record_input=False) as recorder:
        run(model, batch_of(images))
        values = {name: found.attention.mean(0) for name, found in recorder.take().items()}
    outlined = copy.deepcopy(model)
    outline_places(outlined, places, places)
    constant = gated(outlined, places, values)
    folded = copy.deepcopy(constant)
    landings = fold_gates(folded, images)
    counts = Counter(landing.where for landing in landings.values())
    assert (counts["backwards"], counts["forwards"], counts["left"], len(reasons)) == wanted, (landings, reasons)
    with torch.no_grad():
        pairs = zip(*(tensors_of(run(each, batch_of(images))) for each in (folded, constant)), strict=True)
    for got, other in pairs:
        assert got.shape == other.shape
        if other.numel():
            assert (got - other).abs().max() <= 1e-5 * other.abs().max()
    assert sum(p.numel() for p in folded.parameters()) < sum(p.numel() for p in model.parameters())
    if name == "scSE":
        assert [landing.reason for landing in landings.values() if landing.where == "left"] == [
            "backwards: the map is used 3 times; forwards: add takes it together with another map"
        ]
        assert list(reasons.values()) == ["a spatial gate is no constant per channel"]
