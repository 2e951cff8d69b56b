"""Classifiers that are cut at their stages."""

import pytest
import torch
from torch import Tensor, nn

from stripe.errors import StripeError
from stripe.models import backbone_of, build
from stripe.models.backbones import Backbone, Pyramid

# strides and channels as the papers of these networks say
STAGES = {
    "resnet20": [(1, 64), (2, 128), (4, 256)],
    "resnet8-acnet": [(1, 16), (2, 32), (4, 64)],
    "shufflenetv2": [(1, 24), (2, 116), (4, 232), (8, 1024)],
    "torchvision:resnet18": [(2, 64), (4, 64), (8, 128), (16, 256), (32, 512)],
    "torchvision:mobilenet_v3_small": [(2, 16), (4, 16), (8, 24), (16, 48), (32, 576)],
    "torchvision:regnet_y_400mf": [(2, 32), (4, 48), (8, 104), (16, 208), (32, 440)],
}
OF_TIMM = ["timm:test_resnet", "timm:convnext_atto", "timm:regnetx_002"]


def body_of(classifier: nn.Module, name: str = "it") -> tuple[nn.Module, list[tuple[int, int]]]:
    backbone = Backbone(classifier, name)
    body = backbone.body({str(number): stage for number, stage in enumerate(backbone.stages)})
    return body, [(stage.stride, stage.channels) for stage in backbone.stages]


@pytest.mark.parametrize("name", [*STAGES, *OF_TIMM])
def test_stages_of_classifiers(name: str) -> None:
    classifier = build(name, num_classes=3).eval()
    body, stages = body_of(classifier)
    if name in STAGES:
        assert stages == STAGES[name]
    else:
        assert stages == [(stage["reduction"], stage["num_chs"]) for stage in classifier.feature_info]
    with torch.no_grad():
        maps = body(torch.rand(1, 3, 64, 96))
    assert [tuple(value.shape[1:]) for value in maps.values()] == [(c, 64 // s, 96 // s) for s, c in stages]
    # Its own weights, by their own names, in their own order; only the head is missing.
    keys, own = list(body.state_dict()), list(classifier.state_dict())
    assert keys == own[: len(keys)]
    assert len(own) - len(keys) <= 5
    assert next(body.parameters()) is next(classifier.parameters())
    assert type(body).__name__ == type(classifier).__name__


@pytest.mark.parametrize("attention", ["none", "se"])
def test_maps_are_those_of_the_classifier(attention: str) -> None:
    """The head on the last map gives the classifier's output to the last digit; ReLUs in the forward are kept."""
    torch.manual_seed(0)
    classifier = build("resnet11", num_classes=3, attention=attention).eval()
    body, _ = body_of(classifier)
    images = torch.rand(2, 3, 40, 24)
    with torch.no_grad():
        assert torch.equal(classifier.get_submodule("fc")(body(images)["2"].mean((2, 3))), classifier(images))


def test_modules_of_a_body_are_called_as_modules() -> None:
    body, _ = body_of(build("resnet11", attention="se").eval())
    called = []
    for name in ("layer1", "layer2.0", "layer3.0.attention_module"):
        body.get_submodule(name).register_forward_hook(lambda *_, name=name: called.append(name))
    body(torch.rand(1, 3, 32, 32))
    assert called == ["layer1", "layer2.0", "layer3.0.attention_module"]


class Tokens(nn.Module):
    """Patches, as tokens: no stages."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.fc = nn.Conv2d(3, 8, 16, 16), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.patch(x).flatten(2).mean(2))


class Decides(nn.Module):
    """Its forward depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y if y.mean() > 0 else -y


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            Tokens(),
            "net cannot be a backbone: its maps do not become half as large from stage to stage; take a convolutional",
        ),
        (Decides(), "net cannot be a backbone"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)), "net cannot be a backbone, for which .* of any size"),
    ],
)
def test_networks_without_stages(model: nn.Module, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        Backbone(model, "net")


def test_a_pyramid() -> None:
    backbone = Backbone(build("resnet11"), "resnet11")
    pyramid = Pyramid(backbone, backbone.stages[1:], 8, None)
    maps = pyramid(torch.rand(2, 3, 32, 16))
    assert {name: tuple(value.shape) for name, value in maps.items()} == {"0": (2, 8, 16, 8), "1": (2, 8, 8, 4)}


@pytest.mark.parametrize("spec", ["fasterrcnn:resnet11", "retinanet:timm:test_resnet", "fcn:resnet11"])
def test_backbone_of(spec: str) -> None:
    keys = list(backbone_of(build(spec)).state_dict())
    own = list(build(spec.partition(":")[2]).state_dict())
    assert keys == own[: len(keys)]
    assert len(own) - len(keys) == 2


def test_backbone_of_torchvisions_mobilenets() -> None:
    model = build("torchvision:lraspp_mobilenet_v3_large")
    keys = set(backbone_of(model).state_dict())
    assert keys <= set(build("torchvision:mobilenet_v3_large").state_dict())
    assert len(keys) > 200


def test_a_classifier_has_no_backbone() -> None:
    with pytest.raises(StripeError, match="a CifarResNet has no backbone"):
        backbone_of(build("resnet11"))
