"""ASR in the backbones of detectors and segmenters, which torchvision's own networks load once it is fused."""

import pytest
import torch
import torchvision

from stripe import asr
from stripe.models import Unselected, build

SMALL = {"min_size": 32, "max_size": 48, "rpn_post_nms_top_n_test": 10}


@pytest.mark.parametrize(
    ("name", "layers", "args"),
    [
        ("maskrcnn_resnet50_fpn", 16, SMALL),
        ("fasterrcnn_mobilenet_v3_large_fpn", 10, SMALL),
        ("ssdlite320_mobilenet_v3_large", 34, {}),
    ],
)
def test_a_fused_detector_is_torchvisions(name: str, layers: int, args: dict) -> None:
    torch.manual_seed(0)
    model = build(f"torchvision:{name}", num_classes=4, args=args).eval()
    names = asr.reparameterize(model, attention="se", start="alive")
    assert len(names) == layers
    assert all(name.startswith("backbone.") for name in names)
    fused = asr.fuse(model)
    plain = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=4, **args).eval()
    assert list(fused.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(fused.state_dict())
    images = [torch.rand(3, 40, 60), torch.rand(3, 50, 33)]
    with torch.no_grad():
        before = Unselected(model)(images)
        assert torch.equal(Unselected(plain)(images), before)
        for kept, wanted in zip(plain(images), model(images), strict=True):
            assert all(torch.equal(kept[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "timm:regnetx_002", "resnet8-acnet", "resnet11"])
@pytest.mark.parametrize("head", ["fasterrcnn", "fcn"])
def test_places_are_those_of_the_classifier(name: str, head: str) -> None:
    path = "backbone.body." if head == "fasterrcnn" else "backbone."
    expected = [tuple(f"{path}{layer}" for layer in group) for group in asr.known_places(build(name)).groups]
    assert asr.known_places(build(f"{head}:{name}")).groups == expected


def test_places_in_a_frozen_backbone() -> None:
    model = build("retinanet:timm:test_resnet", num_classes=3, args={"frozen_norm": True})
    assert asr.reparameterize(model) == asr.reparameterize(build("retinanet:timm:test_resnet", num_classes=3))


@pytest.mark.parametrize("spec", ["maskrcnn:resnet11", "deeplabv3:resnet11"])
def test_fused_is_unfused(spec: str) -> None:
    torch.manual_seed(0)
    model = build(spec, num_classes=4).eval()
    asr.reparameterize(model, attention="ie")
    fused = asr.fuse(model)
    assert list(fused.state_dict()) == list(build(spec, num_classes=4).state_dict())
    pair = (Unselected(model), Unselected(fused)) if "mask" in spec else (model, fused)
    images = [torch.rand(3, 32, 40), torch.rand(3, 32, 40)]
    assert asr.compare(*pair, images, torch.float32).largest == 0
    assert asr.compare(*pair, images, torch.float64).relative < 1e-6
