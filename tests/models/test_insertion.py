from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stripe.capture import discover
from stripe.errors import StripeError
from stripe.models import build
from stripe.models.insertion import insert_attention


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# torchvision's and timm's documented sizes; SE adds 2·C²/16 + C/16 + C at the end of each block, of C channels.
@pytest.mark.parametrize(
    ("spec", "plain", "blocks"),
    [
        ("timm:resnet34", 21_797_672, {64: 3, 128: 4, 256: 6, 512: 3}),
        ("timm:resnet50", 25_557_032, {256: 3, 512: 4, 1024: 6, 2048: 3}),
        ("timm:resnet101", 44_549_160, {256: 3, 512: 4, 1024: 23, 2048: 3}),
        ("timm:vit_small_patch16_224", 22_050_664, {384: 24}),
        ("timm:vit_base_patch16_224", 86_567_656, {768: 24}),
        ("timm:vit_base_patch16_384", 86_859_496, {768: 24}),
        ("timm:mobilenetv1_100", 4_231_976, None),
        ("timm:repvgg_b3", 123_085_288, None),
        ("torchvision:vgg19_bn", 143_678_248, None),
        ("torchvision:shufflenet_v2_x1_0", 2_278_604, None),
        ("torchvision:resnet34", 21_797_672, {64: 3, 128: 4, 256: 6, 512: 3}),
        ("torchvision:resnet50", 25_557_032, {256: 3, 512: 4, 1024: 6, 2048: 3}),
        ("torchvision:resnext50_32x4d", 25_028_904, {256: 3, 512: 4, 1024: 6, 2048: 3}),
        ("torchvision:mobilenet_v2", 3_504_872, None),
        ("timm:mobilenetv2_100", 3_504_872, None),
    ],
)
def test_parameter_counts(spec: str, plain: int, blocks: dict[int, int] | None) -> None:
    with torch.device("meta"):
        assert count(build(spec)) == plain
        if blocks:
            added = sum(n * (2 * c * (c // 16) + c // 16 + c) for c, n in blocks.items())
            assert count(build(spec, attention="se")) == plain + added


@pytest.mark.parametrize(
    ("spec", "args", "size", "sites"),
    [
        ("timm:resnet34", {}, 32, 16),
        ("timm:resnet50", {}, 32, 16),
        ("timm:resnet101", {}, 32, 33),
        ("timm:resnext50_32x4d", {}, 32, 16),
        ("timm:vit_small_patch16_224", {"img_size": 32}, 32, 24),
        ("timm:vit_base_patch16_224", {"img_size": 32, "depth": 2}, 32, 4),
        ("timm:vit_small_patch16_224", {"img_size": 32, "depth": 2, "init_values": 1e-5}, 32, 4),
        ("torchvision:shufflenet_v2_x0_5", {}, 32, 16),
        ("torchvision:resnet18", {}, 32, 8),
        ("torchvision:resnext50_32x4d", {}, 32, 16),
        ("torchvision:mobilenet_v2", {}, 64, 17),
        ("timm:mobilenetv2_050", {}, 64, 17),
    ],
)
def test_one_training_step_with_se(spec: str, args: dict[str, Any], size: int, sites: int) -> None:
    torch.manual_seed(0)
    plain = build(spec, num_classes=7, args=args)
    model = build(spec, num_classes=7, attention="se", args=args)
    assert set(plain.state_dict()) <= set(model.state_dict())
    x = torch.randn(2, 3, size, size)
    logits = model(x)
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    found = [site for site in discover(model, x) if site.input_dependent]
    assert [site.kind for site in found] == ["channel"] * sites


# SPSA's table 1, "+ Param.": millions, or the number of weights; SE and FCA without biases, ECA with 5 weights a block.
@pytest.mark.parametrize(("depth", "millions", "eca"), [(50, "2.51", 80), (101, "4.74", 165), (152, "6.58", 250)])
def test_parameters_that_are_added_to_imagenet_resnets(depth: int, millions: str, eca: int) -> None:
    with torch.device("meta"):
        plain = count(build(f"torchvision:resnet{depth}"))
        added = {
            text: count(build(f"torchvision:resnet{depth}", attention=text)) - plain
            for text in ("se,bias=no", "fca", "eca,k=5", "spsa", "spsa+se,bias=no", "spsa+eca,k=5", "spsa+fca")
        }
    expected = {"se,bias=no": millions, "fca": millions, "spsa+se,bias=no": millions, "spsa+fca": millions}
    assert {text: f"{added[text] / 1e6:.2f}" for text in expected} == expected
    assert (added["eca,k=5"], added["spsa+eca,k=5"], added["spsa"]) == (eca, eca, 0)


def test_attention_of_torchvisions_resnet_leaves_the_network_as_it_is() -> None:
    torch.manual_seed(0)
    plain = build("torchvision:resnet18", num_classes=3).eval()
    model = build("torchvision:resnet18", num_classes=3, attention="ie").eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    for name, parameter in model.named_parameters():
        if name.endswith("attention_module.bias"):
            nn.init.constant_(parameter, 50)  # v = 1
    x = torch.randn(2, 3, 48, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain(x))
    with pytest.raises(StripeError, match="has attention already"):
        insert_attention(model, nn.Identity)


class Probe(nn.Module):
    """Notes what it sees and passes nothing on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == self.channels
        self.seen.append(x)
        return x * 0 - 1


@pytest.mark.parametrize(
    ("spec", "activation"),
    [
        ("torchvision:vgg11_bn", nn.ReLU),
        ("timm:vgg11_bn", nn.ReLU),
        ("torchvision:shufflenet_v2_x0_5", nn.ReLU),
        ("timm:mobilenetv1_100", nn.ReLU6),
        ("timm:repvgg_a0", nn.ReLU),
    ],
)
def test_between_normalisation_and_relu(spec: str, activation: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = build(spec, num_classes=3)
    probes: list[Probe] = []

    def make(channels: int) -> nn.Module:
        probes.append(Probe(channels))
        return probes[-1]

    insert_attention(model, make)
    rectified: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, activation):
            module.register_forward_pre_hook(lambda _, args: rectified.append(args[0].clone()))
    with torch.no_grad():
        model(torch.randn(2, 3, 32, 32))
    assert probes[0].seen[0].min() < 0  # not rectified yet
    # What each gives, -1 everywhere, is what some ReLU takes next.
    assert sum(bool((x == -1).all()) for x in rectified) == len(probes)
    assert [len(probe.seen) for probe in probes] == [1] * len(probes)


@pytest.mark.parametrize(
    ("spec", "last"),
    [
        ("timm:resnet18", "bn2"),
        ("timm:resnet26", "bn3"),
        ("torchvision:resnet18", "bn2"),
        ("torchvision:resnet50", "bn3"),
    ],
)
def test_resnet_after_the_last_norm_before_the_addition(spec: str, last: str) -> None:
    model = build(spec, num_classes=3).eval()
    probes: list[Probe] = []

    def make(channels: int) -> nn.Module:
        probes.append(Probe(channels))
        return probes[-1]

    insert_attention(model, make)
    outputs = []
    block = model.get_submodule("layer1.1")
    block.get_submodule(last).register_forward_hook(lambda *args: outputs.append(args[-1].clone()))
    x = torch.rand(1, probes[0].channels, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(block(x), (x - 1).relu())
    torch.testing.assert_close(probes[1].seen[0], outputs[0])


def test_vit_after_attention_and_after_mlp() -> None:
    model = build("timm:vit_small_patch16_224", attention="ie", args={"img_size": 32, "depth": 1}).eval()
    block = model.get_submodule("blocks.0")
    gate = torch.linspace(-0.5, 0.5, 384)
    with torch.no_grad():
        for place in ("drop_path1", "drop_path2"):
            attention = block.get_submodule(f"{place}.attention_module.attention_module")
            attention.weight.zero_()
            attention.bias.copy_(gate.atanh())  # v = tanh(bias)
        x = torch.randn(2, 5, 384)
        after = x + gate * block.get_submodule("attn")(block.get_submodule("norm1")(x))
        expected = after + gate * block.get_submodule("mlp")(block.get_submodule("norm2")(after))
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "attention", "message"),
    [
        ("timm:seresnet50", "se", "has attention already"),
        ("timm:repvgg_d2se", "se", "has attention already"),
        ("timm:efficientnet_b0", "se", "this EfficientNet has attention already"),
        ("timm:resnet50_gn", "se", "where attention goes in a ResNet is not known"),
        ("torchvision:alexnet", "se", "where attention goes in a AlexNet is not known.*RepVGG"),
        ("torchvision:vgg11", "se", "no batch normalisation"),
        ("timm:vit_tiny_patch16_224", "cbam", "attention='cbam' does not go into timm:vit.*no channel attention"),
        ("timm:resnet18", "sse", "unknown attention 'sse'"),
    ],
)
def test_where_attention_cannot_go(spec: str, attention: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(StripeError, match=message):
        build(spec, attention=attention)


def test_a_network_of_the_users_class() -> None:
    make: Callable[[int], nn.Module] = Probe
    with pytest.raises(StripeError, match="in a Linear is not known"):
        insert_attention(nn.Linear(2, 2), make)
