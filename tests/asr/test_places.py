"""Where ASR goes by itself: figures 7–11 of the Stripe Observation paper, in the networks as libraries write them."""

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import nn

from stripe import asr
from stripe.errors import StripeError
from stripe.models import build, fuse_branches

# name → what builds the network, how many ASR it gets, and the layers of the first and of the last
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, tuple[str, ...], tuple[str, ...]]] = {
    "ours": (lambda: build("resnet20"), 6, ("layer1.0.bn3",), ("layer3.1.bn3",)),
    "ours with attention": (lambda: build("resnet20", attention="srm"), 6, ("layer1.0.bn3",), ("layer3.1.bn3",)),
    "basic blocks": (lambda: build("resnet14-basic"), 6, ("layer1.0.conv2.bn",), ("layer3.1.conv2.bn",)),
    "ACNet": (
        lambda: build("resnet8-acnet"),
        3,
        ("layer1.0.conv2.square.bn", "layer1.0.conv2.horizontal.bn", "layer1.0.conv2.vertical.bn"),
        ("layer3.0.conv2.square.bn", "layer3.0.conv2.horizontal.bn", "layer3.0.conv2.vertical.bn"),
    ),
    "torchvision resnet18": (torchvision.models.resnet18, 8, ("layer1.0.bn2",), ("layer4.1.bn2",)),
    "torchvision resnext50": (torchvision.models.resnext50_32x4d, 16, ("layer1.0.bn3",), ("layer4.2.bn3",)),
    "timm resnet26": (lambda: timm.create_model("resnet26"), 8, ("layer1.0.bn3",), ("layer4.1.bn3",)),
    "timm seresnet18": (lambda: timm.create_model("seresnet18"), 8, ("layer1.0.bn2",), ("layer4.1.bn2",)),
    "vgg19": (lambda: build("vgg19"), 16, ("features.1",), ("features.50",)),
    "vgg19 with attention": (lambda: build("vgg19", attention="srm"), 16, ("features.1",), ("features.50",)),
    "shufflenet": (
        torchvision.models.shufflenet_v2_x0_5,
        16,
        ("stage2.0.branch2.6",),
        ("stage4.3.branch2.6",),
    ),
    "shufflenet with attention": (
        lambda: build("shufflenetv2", attention="srm"),
        16,
        ("stage2.0.branch2.6",),
        ("stage4.3.branch2.6",),
    ),
    "mobilenet v1": (lambda: build("mobilenet"), 26, ("blocks.0.0.bn1",), ("blocks.4.1.bn2",)),
    "mobilenet v1 with attention": (
        lambda: build("mobilenet", attention="srm"),
        26,
        ("blocks.0.0.bn1",),
        ("blocks.4.1.bn2",),
    ),
    "torchvision mobilenet v2": (
        torchvision.models.mobilenet_v2,
        34,
        ("features.1.conv.0.1",),
        ("features.17.conv.3",),
    ),
    "timm mobilenet v2": (lambda: timm.create_model("mobilenetv2_035"), 34, ("blocks.0.0.bn1",), ("blocks.6.0.bn3",)),
    "repvgg": (
        lambda: timm.create_model("repvgg_a0"),
        22,
        ("stem.conv_kxk.bn", "stem.conv_1x1.bn"),
        ("stages.3.0.conv_kxk.bn", "stages.3.0.conv_1x1.bn"),
    ),
    "torchvision vit": (
        lambda: torchvision.models.VisionTransformer(32, 8, 2, 4, 16, 32, num_classes=5),
        4,
        ("encoder.layers.encoder_layer_0.self_attention.out_proj",),
        ("encoder.layers.encoder_layer_1.mlp.3",),
    ),
    "timm vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2),
        4,
        ("blocks.0.attn.proj",),
        ("blocks.1.mlp.fc2",),
    ),
    "timm deit": (
        lambda: timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, depth=2),
        4,
        ("blocks.0.attn.proj",),
        ("blocks.1.mlp.fc2",),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_training_then_fused_into_the_plain_network(name: str) -> None:
    torch.manual_seed(0)
    make, count, first, last = NETWORKS[name]
    model = make()
    plain = list(model.state_dict())
    groups = asr.known_places(model).groups
    assert (len(groups), groups[0], groups[-1]) == (count, first, last)

    asr.reparameterize(model)
    assert sum(isinstance(module, asr.ASR) for module in model.modules()) == count
    images = torch.randn(2, 3, 32, 32)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    with asr.cached():
        output = model.train()(images)
    (output[0] if isinstance(output, tuple) else output).square().mean().backward()
    assert all(module.psi.grad is not None for module in model.modules() if isinstance(module, asr.ASR))
    optimizer.step()

    model.eval()
    fused = asr.fuse(model)
    with torch.no_grad():
        expected = model(images)
        assert expected.isfinite().all()
        assert torch.equal(fused(images), expected)
    assert list(fused.state_dict()) == plain
    make().load_state_dict(fused.state_dict())


@pytest.mark.parametrize("name", ["ACNet", "repvgg"])
def test_branches_become_one_convolution_after_it(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name][0]()
    asr.reparameterize(model, psi="N1")
    model.eval()
    fused = asr.fuse(model)
    assert fuse_branches(fused)
    difference = asr.compare(model, fused, torch.randn(2, 3, 32, 32), torch.float64)
    assert difference.relative < 1e-6  # of the folded weights, kept in float32


def test_a_vit_begins_with_small_values() -> None:
    model = NETWORKS["torchvision vit"][0]()
    asr.reparameterize(model)
    # One hidden unit for 16 channels: h = 16·1e-3·1e-3 + 1e-3, v = tanh(h·1e-3 + 1e-3).
    expected = torch.full((16,), (16e-6 + 1e-3) * 1e-3 + 1e-3).tanh()
    for value in asr.values(model).values():
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)


def test_what_is_said_wins_over_what_is_known() -> None:
    model = NETWORKS["torchvision vit"][0]()
    asr.reparameterize(model, attention="ie", psi=0.5, activation="sigmoid", init=1.0)
    for value in asr.values(model).values():
        torch.testing.assert_close(value, torch.full((16,), 1.5).sigmoid())


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: torchvision.models.vgg11(num_classes=3), "a VGG is not known: say after which layers"),
        (lambda: torchvision.models.vgg11(num_classes=3), r"neither residual branches nor norm.*as 'features\.\*'"),
        (lambda: timm.create_model("dm_nfnet_f0"), "a NormFreeNet is not known"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), r"a Sequential is not known: .* as '\*.bn3'$"),
    ],
)
def test_other_networks_ask_for_a_pattern(make, shown: str) -> None:
    with torch.device("meta"):
        model = make()
    with pytest.raises(StripeError, match=shown):
        asr.reparameterize(model)
