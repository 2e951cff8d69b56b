"""Saved, loaded again, and carried to other runtimes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import stripe
from stripe import asr, checkpoint, models
from stripe.errors import StripeError
from stripe.fold import fold
from stripe.models.surgery import ConstantGate
from tests.conftest import Net, SqueezeExcite

IMAGES = torch.randn(4, 3, 32, 32)


@pytest.mark.parametrize(
    ("spec", "attention", "args"),
    [
        ("resnet11", "se", {}),
        ("timm:mobilenetv3_small_050", "none", {}),
        ("timm:nf_regnet_b0", "none", {"channels": [16, 32, 48, 64], "depths": [1, 1, 1, 1]}),
    ],
)
def test_loaded_again_it_is_the_same(spec: str, attention: str, args: dict[str, Any], tmp_path: Path) -> None:
    result = fold(models.build(spec, num_classes=7, attention=attention, args=args), [IMAGES])
    meta = {"model": spec, "num_classes": 7, "attention": attention, "args": args}
    result.save(tmp_path / "folded.safetensors", meta)
    loaded = stripe.load(tmp_path / "folded.safetensors")
    assert loaded.state_dict().keys() == result.model.state_dict().keys()
    with torch.inference_mode():
        assert torch.equal(loaded(IMAGES), result.model(IMAGES))
    left = sum(isinstance(module, ConstantGate) for module in loaded.modules())
    assert left == (result.sites["folded"] == "left").sum()


def test_the_file_tells_what_folding_did(tmp_path: Path) -> None:
    result = fold(models.build("resnet11", attention="se"), [IMAGES])
    result.save(tmp_path / "folded.safetensors", {"model": "resnet11", "attention": "se"})
    with safe_open(tmp_path / "folded.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["stripe"])
    assert [site["into"] for site in about["fold"]["sites"]] == ["layer1.0.bn3", "layer2.0.bn3", "layer3.0.bn3"]
    first = {"step": "attention", "accuracy": None, "uncertainty": None, "loss": None, "error": 0, "kept": True}
    assert about["fold"]["steps"][0] == first
    assert about["provenance"]["stripe"]


def test_code_of_the_user_is_not_run_but_given(tmp_path: Path) -> None:
    path = tmp_path / "folded.safetensors"
    result = fold(Net(SqueezeExcite(4)), [IMAGES])
    result.save(path, {"model": "python:mine:make"})
    with pytest.raises(StripeError, match="code is not run because a file says so"):
        stripe.load(path)
    torch.testing.assert_close(stripe.load(path, Net(SqueezeExcite(4)))(IMAGES), result.model(IMAGES))


@pytest.mark.parametrize(
    "folded",
    [
        3,
        ["layer1"],
        {},
        {"outlined": []},
        {"outlined": [], "gates": {"layer9.se": None}},
        {"outlined": [], "gates": {"fc": "gone"}},
        {"outlined": [], "gates": {"layer1.0.attention_module": {"channels": 64}}},
        {"outlined": [], "gates": {"": None}},
        *(
            {"outlined": [], "gates": {"layer1.0.attention_module": {"channels": channels, "axis": axis}}}
            for channels, axis in [
                ([64], -3),
                (10**13, -3),
                (0, -3),
                (True, -3),
                (64, 1),
                (64, -9),
                (64, 1.0),
                (64, "x"),
            ]
        ),
        {"outlined": ["layer1.0"], "gates": {}},
        {"outlined": [["layer1.0", 0, 1]], "gates": {}},
        {"outlined": [["layer1.0.attention_module", "0", 1]], "gates": {}},
        {"outlined": [["layer1.0.attention_module", 0, 5]], "gates": {}},
    ],
)
def test_a_damaged_description(folded: object, tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    checkpoint.save(path, models.build("resnet11"), {"model": "resnet11", "attention": "se", "folded": folded})
    with pytest.raises(StripeError, match="what was folded in it does not fit the model"):
        stripe.load(path)


@pytest.mark.parametrize("meta", [{}, {"num_classes": 10}, {"model": 3}, "resnet11"])
def test_a_file_that_could_not_be_loaded_is_not_written(meta: Any, tmp_path: Path) -> None:
    result = fold(models.build("resnet11", attention="se"), [IMAGES])
    with pytest.raises(StripeError, match=r'folded\.safetensors: say what .* built from, such as \{"model": "timm:'):
        result.save(tmp_path / "folded.safetensors", meta)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_exports(kind: str, tmp_path: Path) -> None:
    model = fold(models.build("resnet11", attention="se"), [IMAGES]).model
    assert asr.export(model, IMAGES, tmp_path / "folded", kind=kind).relative < 1e-5


def test_it_is_saved_without_more(tmp_path) -> None:
    """A network of timm's says what it is; one of nobody's is named when the file is loaded."""
    torch.manual_seed(0)
    model = models.build("timm:seresnet18", num_classes=7).eval()
    images = torch.randn(4, 3, 32, 32)
    result = fold(model, [images], sites="layer4.*")
    assert repr(result).startswith("FoldResult(2 of 8 sites folded, speed ×")
    result.save(tmp_path / "a.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(stripe.load(tmp_path / "a.safetensors")(images), result.model(images))


def test_a_network_that_says_nothing_is_named_on_loading(tmp_path) -> None:
    model = models.build("resnet11", attention="se").eval()
    result = fold(model, [torch.randn(4, 3, 32, 32)])
    result.save(tmp_path / "a.safetensors")
    with pytest.raises(StripeError, match="does not say which model"):
        stripe.load(tmp_path / "a.safetensors")
    loaded = stripe.load(tmp_path / "a.safetensors", models.build("resnet11", attention="se"))
    assert loaded.state_dict().keys() == result.model.state_dict().keys()
