import pytest
import torch
from torch import nn

from stripe.errors import StripeError
from stripe.models import BasicResNet, build
from stripe.models.asymmetric import AsymmetricConv
from stripe.models.basic_resnet import basic_depth_of


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# Widely published: 853,018 and 1,727,962 with parameter-free shortcuts; two 1×1 projections with norms add
# 16·32 + 64 + 32·64 + 128 = 2,752.
@pytest.mark.parametrize(("depth", "parameters"), [(56, 853_018 + 2_752), (110, 1_727_962 + 2_752)])
def test_parameter_count(depth: int, parameters: int) -> None:
    assert count(build(f"resnet{depth}-basic", num_classes=10)) == parameters


@pytest.mark.parametrize("depth", [56, 110])
def test_asymmetric_convolutions_add_six_weights_to_nine_and_two_norms(depth: int) -> None:
    n = (depth - 2) // 6
    convolutions = (
        [(3, 16)] + [(16, 16)] * 2 * n
        + [(16, 32)] + [(32, 32)] * (2 * n - 1)
        + [(32, 64)] + [(64, 64)] * (2 * n - 1)
    )  # fmt: skip
    added = sum(6 * a * b + 4 * b for a, b in convolutions)
    assert count(build(f"resnet{depth}-acnet")) == count(build(f"resnet{depth}-basic")) + added


def test_se_in_every_block() -> None:
    # 9 blocks of each width C, hidden width C / 16
    added = sum(9 * (2 * c * (c // 16) + c // 16 + c) for c in (16, 32, 64))
    assert count(build("resnet56-acnet", attention="se")) == count(build("resnet56-acnet")) + added


def test_every_3x3_convolution_is_asymmetric() -> None:
    model = build("resnet20-acnet")
    blocks = [name for name, module in model.named_modules() if isinstance(module, AsymmetricConv)]
    assert blocks[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert len(blocks) == 19
    outside = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and not any(name.startswith(f"{block}.") for block in blocks)
    }
    assert outside == {"layer2.0.downsample.conv", "layer3.0.downsample.conv"}


@pytest.mark.parametrize("asymmetric", [False, True])
def test_attention_comes_after_the_last_normalisation_and_before_the_addition(asymmetric: bool) -> None:
    class Zero(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.channels = channels

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == self.channels
            return x * 0

    block = BasicResNet(14, attention=Zero, asymmetric=asymmetric).layer1[1].eval()
    x = torch.rand(2, 16, 4, 4)
    torch.testing.assert_close(block(x), x)  # only the shortcut is left


@pytest.mark.parametrize("depth", [2, 9, 83])
def test_wrong_depth(depth: int) -> None:
    with pytest.raises(StripeError, match="6n\\+2"):
        build(f"resnet{depth}-acnet")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet56-acnet", (56, True)), ("resnet110-basic", (110, False)), ("resnet56", None), ("resnet-acnet", None)],
)
def test_names(name: str, expected: tuple[int, bool] | None) -> None:
    assert basic_depth_of(name) == expected
