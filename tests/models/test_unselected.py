import pytest
import torch

from stripe.models import Unselected, build

PARTS = ("box_head", "box_predictor.cls_score", "box_predictor.bbox_pred", "mask_head", "mask_predictor")


def outputs(model: torch.nn.Module, images: object) -> torch.Tensor:
    with torch.no_grad():
        return Unselected(model).eval()(images)


@pytest.mark.parametrize(
    ("spec", "per_image"),
    [
        # 2 sizes × 3 shapes at 16×16, 8×8 and 4×4 positions: a score and 4 numbers each; for 14 boxes 3 classes, 3 × 4
        # numbers and, of Mask R-CNN, 3 masks of 28×28
        ("fasterrcnn:resnet11", 6 * (16**2 + 8**2 + 4**2) * 5 + 14 * (3 + 12)),
        ("maskrcnn:resnet11", 6 * (16**2 + 8**2 + 4**2) * 5 + 14 * (3 + 12 + 3 * 28**2)),
        # 3 sizes × 3 shapes at 8×8, 4×4 and 2×2 positions: 3 classes and 4 numbers each
        ("retinanet:resnet11", 9 * (8**2 + 4**2 + 2**2) * 7),
    ],
)
def test_every_number_is_there(spec: str, per_image: int) -> None:
    torch.manual_seed(0)
    model = build(spec, num_classes=3)
    assert outputs(model, torch.rand(2, 3, 32, 32)).shape == (2 * per_image,)


def test_an_ssd() -> None:
    model = build("torchvision:ssdlite320_mobilenet_v3_large", num_classes=3)
    assert outputs(model, [torch.rand(3, 32, 24), torch.rand(3, 20, 30)]).isfinite().all()


def test_every_part_counts() -> None:
    """A change of weights of any part changes the numbers, those of the second stage, too."""
    torch.manual_seed(0)
    model, images = build("maskrcnn:resnet11", num_classes=3), [torch.rand(3, 32, 24), torch.rand(3, 20, 30)]
    before = outputs(model, images)
    assert torch.equal(outputs(model, images), before)
    parts = ("backbone.body.layer3", "backbone.fpn", "rpn.head", *(f"roi_heads.{part}" for part in PARTS))
    for name, parameter in ((part, next(model.get_submodule(part).parameters())) for part in parts):
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(0.1 * torch.rand_like(parameter) + 0.01)
        assert not torch.equal(outputs(model, images), before), name
        with torch.no_grad():
            parameter.copy_(kept)
