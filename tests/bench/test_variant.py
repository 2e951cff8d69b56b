import pytest
import torch
from torch import nn

from stripe.bench import Variant
from stripe.errors import StripeError
from stripe.models import build


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("resnet164", Variant("resnet164")),
        ("resnet164+se", Variant("resnet164", "se")),
        ("timm:resnet50 + asr( ie ) + fused", Variant("timm:resnet50", asr="ie", fused=True)),
        ("repvgg_a0+fused", Variant("repvgg_a0", fused=True)),
        ("resnet83+cbam-channel+asr(se)", Variant("resnet83", "cbam-channel", "se")),
    ],
)
def test_names(text: str, variant: Variant) -> None:
    assert Variant.parse(text) == variant
    assert str(variant) == text.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("+se", "names no network"),
        ("resnet83+asr", "'asr' is none of"),
        ("resnet83+asr()", r"'asr\(\)' is none of"),
        ("resnet83+", "'' is none of"),
        ("resnet83+se+ie", "says its attention twice"),
        ("resnet83+fused+fused", "says its fused twice"),
    ],
)
def test_names_that_are_none(text: str, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        Variant.parse(text)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_networks() -> None:
    plain = build("resnet11", num_classes=7)
    # SE at 64, 128 and 256 channels: two layers with biases, a sixteenth as wide between; ψ is a number a channel.
    se = sum(2 * c * (c // 16) + c // 16 + c for c in (64, 128, 256))
    built = {text: Variant.parse(f"resnet11{text}").build(7) for text in ("", "+se", "+asr(se)", "+asr(se)+fused")}
    assert [count(model) - count(plain) for model in built.values()] == [0, se, se + 64 + 128 + 256, 0]
    assert not any(model.training for model in built.values())
    assert built["+asr(se)+fused"].state_dict().keys() == plain.state_dict().keys()
    assert built[""](torch.zeros(1, 3, 8, 8)).shape == (1, 7)


def test_branches_are_fused() -> None:
    fused = Variant.parse("resnet8-acnet+asr(se)+fused").build()
    assert not any("square" in name for name, _ in fused.named_parameters())
    assert count(Variant.parse("resnet8-acnet+fused").build()) == count(fused)


def test_nothing_to_fuse() -> None:
    with pytest.raises(StripeError, match=r"resnet11\+se\+fused: there is neither ASR nor branches to fuse"):
        Variant.parse("resnet11+se+fused").build()
