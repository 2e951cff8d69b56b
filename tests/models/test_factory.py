from typing import Any

import pytest

from stripe.errors import StripeError
from stripe.models import build, from_meta, native_image_size, native_normalization


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18", "nearest being resnet11 and resnet20; .*torchvision:resnet18"),
        ("vgg9", "did you mean vgg19"),
        ("resnet57-acnet", "6n"),
        ("seresnet50", "did you mean timm:seresnet50"),
        ("efficientnet_b0", "did you mean torchvision:efficientnet_b0 or timm:efficientnet_b0"),
        ("efficientnet_b00", "did you mean .*efficientnet_b0"),
        ("torchvision:efficientnet_b9", "did you mean efficientnet_b"),
        ("timm:seresnet5", "did you mean seresnet50"),
        ("timm:resnet50.no_such_tag", "no_such_tag"),
        ("tv:resnet18", "write torchvision:NAME"),
        ("timm:", "write torchvision:NAME"),
        ("", "there are resnet83, resnet164"),
    ],
)
def test_unknown_names_get_a_hint(spec: str, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        build(spec, num_classes=10)


@pytest.mark.parametrize(
    ("spec", "more", "message"),
    [
        ("resnet11", {"attention": "sse"}, "unknown attention 'sse'"),
        ("resnet11", {"num_classes": 0}, "at least one class"),
        ("resnet11", {"pretrained": True}, "no published weights of resnet11"),
        ("resnet11", {"args": {"width": 3}}, "takes no further arguments, but got width"),
        ("vgg19", {"pretrained": True}, "no published weights of vgg19"),
        ("repvgg_a0", {"args": {"width": 3}}, "takes no further arguments, but got width"),
        ("torchvision:alexnet", {"attention": "se"}, "attention='se' does not go into torchvision:alexnet"),
        ("torchvision:resnet18", {"args": {"foo": 1}}, "does not take these arguments.*foo"),
        ("torchvision:resnet18", {"args": {"weights": "DEFAULT"}}, "'weights' is set through"),
        ("timm:test_resnet", {"args": {"foo": 1}}, "does not take these arguments.*foo"),
        ("timm:test_resnet", {"args": {"checkpoint_path": "x.pth"}}, "'checkpoint_path' is set through"),
    ],
)
def test_impossible_requests(spec: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(StripeError, match=message):
        build(spec, **more)


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ("resnet83", 32),
        ("torchvision:resnet18", 224),
        ("torchvision:inception_v3", 299),
        ("torchvision:vit_h_14", 224),
        ("timm:test_resnet", 160),
        ("timm:vit_base_patch16_384", 384),
        ("python:any.module:factory", None),
    ],
)
def test_native_image_size(spec: str, size: int | None) -> None:
    assert native_image_size(spec) == size


def test_published_weights_may_want_larger_images() -> None:
    assert native_image_size("torchvision:vit_h_14", pretrained=True) == 518


def test_image_size_of_an_unknown_name() -> None:
    with pytest.raises(StripeError, match="no classifier 'resnet19'"):
        native_image_size("torchvision:resnet19")


def test_from_meta_builds_what_was_described() -> None:
    model = from_meta({"model": "resnet11", "attention": "se", "num_classes": 3, "epoch": 1, "seed": 0})
    expected = build("resnet11", num_classes=3, attention="se")
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in expected.state_dict().items()}


def test_from_meta_passes_arguments_on() -> None:
    model = from_meta({"model": "timm:test_resnet", "num_classes": 3, "args": {"in_chans": 1}})
    assert model.get_submodule("conv1.0").weight.shape[1] == 1


def test_from_meta_builds_fused_branches() -> None:
    model = from_meta({"model": "resnet8-acnet", "num_classes": 3, "fused": True})
    assert "layer1.0.conv1.reparam_conv.bias" in model.state_dict()


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({}, "does not say which model"),
        ({"model": "resnet11", "num_classes": "ten"}, "damaged"),
        ({"model": "resnet11", "args": [1]}, "damaged"),
        ({"model": "python:os:system", "args": {"command": "true"}}, "code is not run because a file says so"),
    ],
)
def test_from_meta_refuses(meta: dict[str, Any], message: str) -> None:
    with pytest.raises(StripeError, match=message):
        from_meta(meta)


def test_published_weights_have_their_own_normalisation() -> None:
    """As their configurations say: ImageNet's for most, none for some."""
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert native_normalization("torchvision:efficientnet_b0") == imagenet
    assert native_normalization("timm:seresnet50") == imagenet
    assert native_normalization("timm:tresnet_m") == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    with pytest.raises(StripeError, match="unknown model 'resnet83'"):
        native_normalization("resnet83")
