"""Comparing and exporting give the same in every mode, and for every form of outputs."""

import json

import pytest
import torch
from torch import nn

from stripe import asr
from stripe.bench import measure
from stripe.errors import StripeError
from tests.foreign import MODES, OUTPUTS, WAYS, Se, ambient, plain

IMAGES = torch.rand(3, 3, 8, 8)


def halved(net: nn.Module) -> nn.Module:
    other = plain(net)
    with torch.no_grad():
        other.fc.weight.mul_(0.5)
    return other


@pytest.mark.parametrize("mode", MODES)
def test_in_every_mode(mode: str, tmp_path) -> None:
    net = Se().eval()
    wanted = asr.compare(net, halved(net), IMAGES, torch.float64)
    with ambient(mode):
        assert asr.compare(net, halved(net), IMAGES.clone(), torch.float64) == wanted
        assert asr.export(net, IMAGES.clone(), tmp_path / "net.pt2", kind="torch").largest == 0
    exported = torch.export.load(tmp_path / "net.pt2").module()
    torch.testing.assert_close(exported(IMAGES), net(IMAGES))


@pytest.mark.parametrize("kind", [*OUTPUTS.values(), WAYS["InPlace"], WAYS["Locked"], WAYS["Graph"]])
def test_every_form(kind: type[Se], tmp_path) -> None:
    net, images = kind().eval(), IMAGES.clone()
    net(images.clone())
    wanted = asr.compare(plain(net), halved(net), IMAGES, torch.float64)
    assert asr.compare(net, halved(net), images, torch.float64) == wanted
    assert torch.equal(images, IMAGES)
    if kind in OUTPUTS.values():
        asr.export(net, images, tmp_path / "net.pt2", kind="torch")
        exported = torch.export.load(tmp_path / "net.pt2").module()
        torch.testing.assert_close(exported(IMAGES), plain(net)(IMAGES))


def test_what_is_no_scores(tmp_path) -> None:
    class Nothing(nn.Module):
        def forward(self, x: torch.Tensor) -> None:
            return None

    with pytest.raises(StripeError, match="returns a NoneType; only a tensor can be exported"):
        asr.export(Nothing(), IMAGES, tmp_path / "net.pt2", kind="torch")
    with pytest.raises(StripeError, match="Se does not run on a batch of images of shape 3×1×8×8"):
        asr.compare(Se(), Se(), IMAGES[:, :1], torch.float32)


@pytest.mark.parametrize("mode", MODES)
def test_measuring_in_every_mode(mode: str) -> None:
    wanted = measure(["resnet11+se"], batch_size=2, repeats=1)
    with ambient(mode):
        found = measure(["resnet11+se"], batch_size=2, repeats=1)
    assert json.dumps(found[["flops", "parameters"]].to_dict()) == json.dumps(wanted[["flops", "parameters"]].to_dict())
