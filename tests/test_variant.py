from pathlib import Path

import pytest
import torch
from torch import nn

from stripe import asr, checkpoint
from stripe.errors import StripeError
from stripe.fold import fold
from stripe.models import build
from stripe.variant import Variant


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("resnet164", Variant("resnet164")),
        ("resnet164+se", Variant("resnet164", "se")),
        ("timm:resnet50 + asr( ie ) + fused", Variant("timm:resnet50", asr="ie", fused=True)),
        ("repvgg_a0+fused", Variant("repvgg_a0", fused=True)),
        ("resnet83+cbam-channel+asr(se)", Variant("resnet83", "cbam-channel", "se")),
        ("resnet83+se+ie", Variant("resnet83", "se+ie")),
        ("resnet83+cbam:sa>ca,k=3+asr(se+eca)+fused", Variant("resnet83", "cbam:sa>ca,k=3", "se+eca", fused=True)),
        ("resnet11+none/se/eca+ie", Variant("resnet11", "none/se/eca+ie")),
        ("runs/a+b/best.safetensors", Variant("runs/a+b/best.safetensors")),
        ("runs/a+b/best.pth.tar+fused", Variant("runs/a+b/best.pth.tar", fused=True)),
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
        ("resnet83+resnet20", r"'resnet20' is none of \+se, .*\+asr\(se\) and \+fused"),
        ("resnet83+asr()", r"'asr\(\)' is none of"),
        ("resnet83+", "'' is none of"),
        ("resnet83+se+asr(se)+ie", "says its attention twice"),
        ("resnet83+se,k=3", "'se' in 'se,k=3' has no option|'se' has no option 'k=3'"),
        ("resnet83+asr(sse)", "unknown attention 'sse'"),
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


def test_checkpoints(tmp_path: Path) -> None:
    """As it is in the file; folded, it is the plain network."""
    model, path = build("resnet11", num_classes=7, attention="se"), tmp_path / "a+b.safetensors"
    asr.reparameterize(model, attention="se")
    meta = {"model": "resnet11", "num_classes": 7, "attention": "se", "asr": {"attention": "se"}, "image_size": 24}
    checkpoint.save(path, model, meta)
    folded = tmp_path / "folded.safetensors"
    fold(model, [torch.randn(4, 3, 24, 24)]).save(
        folded, {key: meta[key] for key in ("model", "num_classes", "attention")}
    )
    variants = [Variant.parse(str(path)), Variant.parse(f"{path} + fused"), Variant.parse(str(folded))]
    sizes = [count(variant.build()) for variant in variants]
    plain = count(build("resnet11", num_classes=7))
    se = count(build("resnet11", num_classes=7, attention="se")) - plain
    assert sizes == [plain + 2 * se + 64 + 128 + 256, plain + se, plain]
    assert [variant.image_size() for variant in variants] == [24, 24, 32]


def test_what_does_not_go_with_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(StripeError, match="cannot be read: No such file"):
        Variant.parse(str(tmp_path / "gone.safetensors")).build()
    checkpoint.save(tmp_path / "a.safetensors", build("resnet11"), {"model": "resnet11"})
    with pytest.raises(StripeError, match="measured with the attention and ASR that it has"):
        Variant.parse(f"{tmp_path / 'a.safetensors'}+se").build()
    with pytest.raises(StripeError, match="neither ASR nor branches to fuse"):
        Variant.parse(f"{tmp_path / 'a.safetensors'}+fused").build()
