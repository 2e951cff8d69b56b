import json
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from stripe import asr
from stripe.errors import StripeError
from stripe.models import build

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class OfThree(nn.Module):
    """Works for three images alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(3, -1)[:, :5]


class Branching(nn.Module):
    """What it computes depends on the values of the images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3)) if x.sum() > 0 else x.amax((1, 2, 3))


@pytest.fixture(scope="module")
def fused() -> nn.Module:
    """Trained enough for its normalisations not to be the identity, then fused; left in training mode."""
    torch.manual_seed(0)
    model = build("resnet11", num_classes=4)
    asr.reparameterize(model)
    model(torch.randn(16, 3, 8, 8))
    return asr.fuse(model)


def test_onnx(fused: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "new" / "net.onnx"
    difference = asr.export(fused, IMAGES, path, kind="onnx", meta={"classes": ["a", "b"]})
    assert difference.relative < 1e-5
    assert fused.training

    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(path)
    described = json.loads(session.get_modelmeta().custom_metadata_map["stripe"])
    assert described["classes"] == ["a", "b"]
    assert "created" in described["provenance"]
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]
    five = torch.randn(5, 3, 8, 8)
    outputs = session.run(["outputs"], {"images": five.numpy()})[0]
    fused.eval()
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(outputs), fused(five), rtol=1e-4, atol=1e-5)
    fused.train()


def test_torch_export_is_exact(fused: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    assert asr.export(fused, IMAGES, path, kind="torch", meta={"epoch": 3}).largest == 0
    files = {"stripe.json": ""}
    program = torch.export.load(path, extra_files=files)
    assert json.loads(files["stripe.json"])["epoch"] == 3
    five = torch.randn(5, 3, 8, 8)
    fused.eval()
    with torch.no_grad():
        assert torch.equal(program.module()(five), fused(five))
    fused.train()


@pytest.mark.parametrize("kind", asr.EXPORTS)
def test_over_the_tolerance_nothing_is_written(fused: nn.Module, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net"
    path.write_text("older")
    with pytest.raises(StripeError, match=r"differ by .*; nothing is written"):
        asr.export(fused, IMAGES, path, kind=kind, tolerance=-1)
    assert [p.name for p in tmp_path.iterdir()] == ["net"]
    assert path.read_text() == "older"


@pytest.mark.parametrize("model", [OfThree(), Branching()], ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("kind", asr.EXPORTS)
def test_a_network_that_cannot_be_exported(tmp_path: Path, capfd, kind: str, model: nn.Module) -> None:
    with pytest.raises(StripeError, match=rf"this network cannot be exported \({kind}\): "):
        asr.export(model, IMAGES, tmp_path / "net", kind=kind)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""


def test_outputs_that_are_not_finite(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    nn.init.constant_(model[1].bias, torch.inf)
    with pytest.raises(StripeError, match="not all finite"):
        asr.export(model, IMAGES, tmp_path / "net.pt2", kind="torch")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_package_that_is_missing(fused: nn.Module, tmp_path: Path, monkeypatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StripeError, match=rf"needs {package}, which is not installed: pip install .*\[export\]"):
        asr.export(fused, IMAGES, tmp_path / "net.onnx", kind="onnx")
    assert asr.export(fused, IMAGES, tmp_path / "net.pt2", kind="torch").largest == 0


def test_mistakes(fused: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(StripeError, match="no export of kind 'tflite'; there are onnx, torch"):
        asr.export(fused, IMAGES, tmp_path / "net", kind="tflite")
    with pytest.raises(StripeError, match="two images or more"):
        asr.export(fused, IMAGES[:1], tmp_path / "net", kind="torch")
    (tmp_path / "file").touch()
    with pytest.raises(StripeError, match="cannot be written"):
        asr.export(fused, IMAGES, tmp_path / "file" / "net", kind="torch")
