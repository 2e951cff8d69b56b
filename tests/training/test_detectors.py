"""Detectors and segmenters from ``train`` to a score: runs, resumption, first weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stripe import checkpoint, models
from stripe.capture import open_capture
from stripe.data import Data, load
from stripe.errors import StripeError
from stripe.models.spec import AsrSpec, ModelSpec
from stripe.training import RESNET, Run, train
from stripe.training.backbone import load_backbone
from stripe.training.network import build

RECIPE = replace(RESNET, batch_size=4, lr=0.01).scaled(2)
SETTINGS = {"model": "fasterrcnn:resnet11", "recipe": RECIPE, "device": "cpu", "workers": 0}


@pytest.fixture(scope="module")
def scenes() -> Data:
    return load("scenes:train=8,test=4", image_size=40)


def test_a_run_of_a_detector(tmp_path, scenes):
    run = train(tmp_path / "run", scenes, attention="se", capture=3, **SETTINGS)
    metrics = run.metrics
    parts = sum(metrics[f"test_{name}"] for name in ("classifier", "box", "objectness", "rpn_box"))
    assert parts.to_numpy() == pytest.approx(metrics.test_loss.to_numpy(), rel=1e-5)
    assert metrics[["test_ap", "test_ap50", "val_ap"]].notna().all(axis=None)
    assert metrics.train_ap.isna().all()
    assert run.settings["task"]["name"] == "detection"
    with np.load(run.path / "predictions.npz") as pictures:
        assert set(pictures) == {"epoch", *(f"{name}_{number}" for name in ("truth", "found") for number in range(4))}
    assert run.settings["num_classes"] == 11
    with open_capture(run.capture_file) as capture:
        assert "backbone.body.layer1.0.attention_module" in capture.sites
    found = checkpoint.read(run.best_file)
    assert found.meta["mean"] == [0, 0, 0]
    assert found.meta["task"]["best"] == "ap"


def test_it_goes_on_exactly(tmp_path, scenes):
    def stop(metrics) -> None:
        raise KeyboardInterrupt

    settings = SETTINGS | {"mode": "asr", "attention": "se"}
    whole = train(tmp_path / "whole", scenes, **settings)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", scenes, on_epoch=stop, **settings)
    assert len(Run(tmp_path / "run").metrics) == 1
    resumed = train(tmp_path / "run", scenes, **settings)
    columns = [name for name in whole.metrics if name not in ("seconds", "images_per_second")]
    assert resumed.metrics[columns].equals(whole.metrics[columns])


def test_a_run_of_a_segmenter(tmp_path, scenes):
    run = train(tmp_path / "run", scenes, **SETTINGS | {"model": "fcn:resnet11"})
    assert run.metrics[["train_miou", "test_miou", "val_pixel_accuracy"]].notna().all(axis=None)
    assert run.scoring.best == "miou"


def test_the_backbone_begins_with_the_weights_of_a_classifier(tmp_path, scenes, caplog):
    classifier = models.build("resnet11", num_classes=7, attention="se")
    path = tmp_path / "classifier.safetensors"
    checkpoint.save(path, classifier, {"model": "resnet11", "num_classes": 7, "attention": "se"})
    settings = SETTINGS | {"recipe": replace(RECIPE, lr=1e-12).scaled(1), "attention": "se"}
    run = train(tmp_path / "run", scenes, backbone_ckpt=str(path), **settings)
    state = checkpoint.read(run.best_file).state_dict
    assert state["backbone.body.conv1.weight"].allclose(classifier.conv1.weight)
    assert state["backbone.body.layer3.0.conv2.weight"].allclose(classifier.layer3[0].conv2.weight)
    assert "tensors of the backbone are from it" in caplog.text
    assert set(run.settings["backbone_ckpt"]) == {"name", "sha256"}
    with pytest.raises(StripeError, match="resnet11 is a classifier itself"):
        train(tmp_path / "other", load("shapes:train=20,test=10"), backbone_ckpt=str(path), model="resnet11")


def test_a_backbone_with_asr_takes_plain_weights(tmp_path, scenes):
    classifier = models.build("resnet11", num_classes=7)
    path = tmp_path / "classifier.safetensors"
    checkpoint.save(path, classifier, {"model": "resnet11", "num_classes": 7})
    settings = SETTINGS | {"recipe": replace(RECIPE, lr=1e-12).scaled(1), "attention": "se", "mode": "asr"}
    run = train(tmp_path / "run", scenes, backbone_ckpt=str(path), **settings)
    state = checkpoint.read(run.best_file).state_dict
    weight = next(value for name, value in state.items() if "layer1.0.bn3.parametrizations.weight.original" in name)
    assert weight.allclose(classifier.layer1[0].bn3.weight)


def saved(path: Path, spec: ModelSpec) -> Path:
    """A checkpoint all of whose numbers are one quarter."""
    network = build(spec)
    with torch.no_grad():
        for value in network.state_dict().values():
            value.fill_(0.25)
    checkpoint.save(path, network, spec.to_meta())
    return path


MOBILE = "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (ModelSpec("resnet11"), ModelSpec("fcn:resnet11", "se")),
        (ModelSpec("maskrcnn:resnet11"), ModelSpec("fcn:resnet11", asr=AsrSpec())),
        (ModelSpec("fcn:resnet11", "se"), ModelSpec("retinanet:resnet11", "se", args={"frozen_norm": True})),
        (ModelSpec("resnet11", asr=AsrSpec()), ModelSpec("fcn:resnet11", asr=AsrSpec())),
        (ModelSpec(MOBILE), ModelSpec("torchvision:lraspp_mobilenet_v3_large")),
        (ModelSpec("torchvision:mobilenet_v3_large"), ModelSpec(MOBILE)),
    ],
)
def test_all_layers_of_the_same_backbone_are_taken(tmp_path, given, wanted):
    network = build(wanted)
    load_backbone(network, saved(tmp_path / "it.safetensors", given), wanted)
    new = {name for name, value in models.backbone_of(network).state_dict().items() if not (value == 0.25).all()}
    assert all("attention" in name or name.endswith(("psi", "num_batches_tracked")) for name in new)
    assert any("attention" in name for name in new) is (wanted.mode != given.mode)


@pytest.mark.parametrize(
    ("given", "wanted", "said"),
    [
        (ModelSpec("resnet11"), ModelSpec("fcn:resnet20"), "resnet11, .* of fcn:resnet20 cannot .* are not in it"),
        (
            ModelSpec("resnet20"),
            ModelSpec("fcn:resnet11"),
            "resnet20, .* of fcn:resnet11 cannot .* not in the backbone",
        ),
        (ModelSpec("fcn:resnet11", "se"), ModelSpec("retinanet:resnet11"), r"fcn:resnet11\+se, .* 12 tensors"),
        (
            ModelSpec("resnet11", asr=AsrSpec()),
            ModelSpec("fcn:resnet11"),
            r"resnet11\+asr\(se\), .* fused if it has ASR",
        ),
    ],
)
def test_the_layers_of_another_backbone_are_refused(tmp_path, given, wanted, said):
    with pytest.raises(StripeError, match=said):
        load_backbone(build(wanted), saved(tmp_path / "it.safetensors", given), wanted)


def test_what_does_not_fit_together(tmp_path, scenes):
    with pytest.raises(StripeError, match="have boxes, masks, segmentation, not one class each"):
        train(tmp_path / "a", scenes, **SETTINGS | {"model": "resnet11"})
    with pytest.raises(StripeError, match="have no boxes"):
        train(tmp_path / "b", load("shapes:train=20,test=10"), **SETTINGS)
    with pytest.raises(StripeError, match=r"in fasterrcnn:resnet11 there is no attention .* or capture=0"):
        train(tmp_path / "a", scenes, **SETTINGS, mode="asr", capture=2)
    assert not (tmp_path / "a").exists()
