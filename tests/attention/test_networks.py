"""Attention in a whole network: a training step, capture, save and load, and export."""

from pathlib import Path

import pytest
import torch
from torch import nn

from stripe import checkpoint, export
from stripe.attention import attention
from stripe.capture import capture, open_capture, site_names
from stripe.models import build

FORMS = [
    "mvam",
    "mvam:sa>ca,k=3",
    "cbam:ca|sa",
    "spsa",
    "spsa,heads=4",
    "fca",
    "spsa+se",
    "spsa+eca",
    "spsa+fca",
    "se/none/spsa+mvam:ca",
]


@pytest.mark.parametrize("text", FORMS)
def test_every_form(text: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("resnet11", num_classes=3, attention=text)
    images = torch.rand(3, 3, 16, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    torch.nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 2])).backward()
    optimizer.step()
    moved = [name for name, value in model.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) > 0.9 * len(before)  # a hidden unit may be off
    assert all(value.isfinite().all() for value in model.parameters())
    model.eval()

    meta = {"model": "resnet11", "num_classes": 3, "attention": text}
    checkpoint.save(tmp_path / "a.safetensors", model, meta)
    found = checkpoint.read(tmp_path / "a.safetensors")
    again = checkpoint.restore(found).eval()
    with torch.no_grad():
        assert torch.equal(again(images), model(images))

    capture(model, [images], tmp_path / "a.h5")
    tree = open_capture(tmp_path / "a.h5")
    assert site_names(tree)
    for name in site_names(tree):
        values = tree["sites"][name]["attention"].values
        assert ((values > 0) & (values < 1)).all()


@pytest.mark.slow  # the ONNX exporter takes five seconds for a network of any size, and twice that for its first
@pytest.mark.parametrize("text", ["mvam:ca|sa", "spsa,reverse=no", "spsa,heads=4", "fca", "spsa+se"])
def test_export(text: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), attention(text, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    difference = export.export(model, torch.rand(2, 3, 12, 10), tmp_path / "a.onnx", kind="onnx")
    assert difference.relative < 1e-5
