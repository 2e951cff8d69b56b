import pytest
import torch

from stripe.attention import ATTENTION
from stripe.errors import StripeError
from stripe.models import CifarResNet, build
from stripe.models.resnet import depth_of


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# The numbers of table 1 of the ASR paper; 234 for ECA is 18·(3 + 5 + 5).
@pytest.mark.parametrize(("attention", "added"), [("none", 0), ("se", 202_104), ("cbam", 198_828), ("eca", 234)])
def test_parameter_count_of_resnet164(attention: str, added: int) -> None:
    assert count(build("resnet164", num_classes=100, attention=attention)) == 1_727_284 + added


@pytest.mark.parametrize("depth", [11, 20, 29, 83, 164])
def test_depth_is_the_number_of_layers(depth: int) -> None:
    model = CifarResNet(depth)
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and "downsample" not in name
    ]
    assert len(layers) == depth


@pytest.mark.parametrize(
    ("depth", "neighbours"),
    [
        (0, "resnet11$"),
        (2, "resnet11$"),
        (10, "resnet11$"),
        (12, "resnet11 and resnet20$"),
        (85, "resnet83 and resnet92$"),
    ],
)
def test_wrong_depth_names_the_neighbours(depth: int, neighbours: str) -> None:
    with pytest.raises(StripeError, match=neighbours):
        CifarResNet(depth)


def test_an_imagenet_depth_points_to_the_libraries() -> None:
    with pytest.raises(StripeError, match="torchvision:resnet50 or timm:resnet50"):
        CifarResNet(50)


@pytest.mark.parametrize("attention", ["none", *ATTENTION])
def test_shapes_and_one_training_step(attention: str) -> None:
    torch.manual_seed(0)
    model = build("resnet11", num_classes=7, attention=attention)
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    model.eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 96, 96)).shape == (1, 7)
        assert model(torch.randn(3, 3, 8, 8)).shape == (3, 7)


def test_attention_comes_after_the_last_normalisation_and_before_the_addition() -> None:
    class Zero(torch.nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.channels = channels

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == self.channels
            return x * 0

    block = CifarResNet(20, attention=Zero).layer1[1].eval()
    x = torch.rand(2, 64, 4, 4)
    torch.testing.assert_close(block(x), x)  # only the shortcut is left
    assert list(dict(block.named_children())) == [
        "conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "attention_module",
    ]  # fmt: skip


def test_channels_last_changes_no_output() -> None:
    torch.manual_seed(0)
    model = build("resnet11", num_classes=4, attention="cbam").eval()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = model(x)
        got = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "depth"), [("resnet83", 83), ("resnet", None), ("timm:resnet50", None), ("resnet-83", None)]
)
def test_depth_of(name: str, depth: int | None) -> None:
    assert depth_of(name) == depth
