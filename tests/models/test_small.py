from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import nn

from stripe.asr import known_places
from stripe.capture import discover
from stripe.errors import StripeError
from stripe.models import build, native_image_size
from stripe.models.small import NAMES

# Published counts for 1000 classes (torchvision's and timm's documentation), less 900 classes of the last layer; the
# first linear layer of VGG19 has 512 inputs instead of 25,088.
PARAMETERS = {
    "vgg19": 143_678_248 - 900 * 4097 - (25_088 - 512) * 4096,
    "shufflenetv2": 2_278_604 - 900 * 1025,
    "mobilenet": 4_231_976 - 900 * 1025,
    "repvgg_a0": 9_108_968 - 900 * 1281,
    "mobilenetv2": 3_504_872 - 900 * 1281,
    "resnet18-cifar": 11_173_962 + 90 * 513,  # the usual count for 10 classes
}

# Channels of the maps that attention weighs: VGG19's 16 convolutions; half the channels of ShuffleNetV2's 16 blocks;
# MobileNet's 13 blocks, depthwise and pointwise; RepVGG-A0's stem and blocks (table 2 and 3 of its paper).
MOBILENET = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
CHANNELS = {
    "vgg19": [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8,
    "shufflenetv2": [58] * 4 + [116] * 8 + [232] * 4,
    "mobilenet": [c for pair in pairwise(MOBILENET) for c in pair],
    "repvgg_a0": [48] + [48] * 2 + [96] * 4 + [192] * 14 + [1280],
    "mobilenetv2": [16] + [24] * 2 + [32] * 3 + [64] * 4 + [96] * 3 + [160] * 3 + [320],
    "resnet18-cifar": [64] * 2 + [128] * 2 + [256] * 2 + [512] * 2,
}


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def se_parameters(channels: Sequence[int]) -> int:
    return sum(2 * c * h + h + c for c in channels for h in [max(1, round(c / 16))])


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name: str) -> None:
    plain = build(name, num_classes=100)
    assert count(plain) == PARAMETERS[name]
    attended = build(name, num_classes=100, attention="se")
    assert count(attended) == PARAMETERS[name] + se_parameters(CHANNELS[name])
    own = {key: value.shape for key, value in plain.state_dict().items()}
    assert own.items() <= {key: value.shape for key, value in attended.state_dict().items()}.items()


@pytest.mark.parametrize("name", CHANNELS)
def test_every_attention_is_a_site_of_its_own(name: str) -> None:
    sites = discover(build(name, attention="se"), torch.randn(2, 3, 32, 32))
    assert [site.shape for site in sites] == [(c,) for c in CHANNELS[name]]
    assert all(site.kind == "channel" and site.input_dependent for site in sites)


@pytest.mark.parametrize(("name", "side"), [("vgg19", 1), ("shufflenetv2", 4), ("mobilenet", 2), ("repvgg_a0", 2)])
def test_the_last_maps_of_a_32_pixel_image(name: str, side: int) -> None:
    model = build(name, attention="se")
    last = discover(model, torch.randn(2, 3, 32, 32))[-1]
    # VGG ends with a pool.
    assert last.map_shape[1:] == ((2, 2) if name == "vgg19" else (side, side))
    shapes = []
    pool = {"vgg19": "avgpool", "shufflenetv2": "conv5", "mobilenet": "conv_head", "repvgg_a0": "head"}[name]
    model.get_submodule(pool).register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape[2:]))
    model(torch.randn(2, 3, 32, 32))
    assert shapes == [(side, side)]


# One image size each at which the last maps are 1×1 or 2×2, to be quick; batches of two for the batch normalisation.
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vgg19", 32),
        ("shufflenetv2", 32),
        ("mobilenet", 32),
        ("repvgg_a0", 32),
        ("repvgg_b3", 16),
        ("resnet56-acnet", 32),
        ("resnet110-acnet", 32),
        ("resnet83", 32),
        ("resnet18-cifar", 16),
        ("mobilenetv2", 32),
    ],
)
def test_one_training_step_with_se(name: str, size: int) -> None:
    torch.manual_seed(0)
    model = build(name, num_classes=7, attention="se")
    logits = model(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("attention", ["eca", "cbam", "ie", "srm", "spa", "dia"])
@pytest.mark.parametrize("name", ["shufflenetv2", "mobilenet", "resnet20-acnet"])
def test_every_attention(name: str, attention: str) -> None:
    model = build(name, attention=attention).eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, 32, 32)).isfinite().all()


@pytest.mark.parametrize("name", ["vgg19", "shufflenetv2", "mobilenet", "repvgg_a0", "resnet20-acnet"])
def test_images_of_stl10(name: str) -> None:
    model = build(name).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 96, 96)).shape == (1, 10)


def test_the_seed_decides_the_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build("vgg19", attention="se").state_dict())
    first, second = states
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(value.isfinite().all() for value in first.values())


def test_resnet18_of_another_width() -> None:
    model = build("resnet18-cifar", attention="se", args={"width": 16})
    assert [m.attention_module.fc1.in_features for m in model.modules() if hasattr(m, "attention_module")] == [
        *[16] * 2,
        *[32] * 2,
        *[64] * 2,
        *[128] * 2,
    ]
    assert known_places(model).groups[-1] == ("layer4.1.conv2.bn",)
    assert len(known_places(model).groups) == 8
    for wrong in ({"width": 0}, {"width": "16"}, {"widht": 16}):
        with pytest.raises(StripeError, match=f"resnet18-cifar.*{next(iter(wrong))}"):
            build("resnet18-cifar", args=wrong)


@pytest.mark.parametrize("name", NAMES)
def test_native_image_size(name: str) -> None:
    assert native_image_size(name) == 32
