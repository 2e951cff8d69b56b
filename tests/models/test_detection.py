"""Detectors on any classifier."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d

from stripe.errors import StripeError
from stripe.models import backbone_of, build, normalizes_itself

CLASSES = {"maskrcnn": MaskRCNN, "fasterrcnn": FasterRCNN, "retinanet": RetinaNet}


def targets(count: int, size: tuple[int, int] = (64, 48)) -> list[dict[str, Tensor]]:
    masks = torch.zeros(2, *size, dtype=torch.uint8)
    masks[0, 10:40, 5:25] = masks[1, 20:60, 10:44] = 1
    boxes = torch.tensor([[5.0, 10.0, 25.0, 40.0], [10.0, 20.0, 44.0, 60.0]])
    return [{"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks} for _ in range(count)]


@pytest.mark.parametrize("head", CLASSES)
@pytest.mark.parametrize("attention", ["none", "se"])
def test_a_step_of_training_moves_every_parameter(head: str, attention: str) -> None:
    torch.manual_seed(0)
    model = build(f"{head}:resnet11", num_classes=4, attention=attention).train()
    assert type(model) is CLASSES[head]
    losses = model([torch.rand(3, 64, 48), torch.rand(3, 64, 48)], targets(2))
    assert set(losses) >= ({"bbox_regression"} if head == "retinanet" else {"loss_rpn_box_reg", "loss_box_reg"})
    sum(losses.values()).backward()
    # the outputs of classes that no image shows may have no gradient, but each parameter is reached
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("head", CLASSES)
def test_images_of_different_sizes_keep_them(head: str) -> None:
    torch.manual_seed(0)
    model = build(f"{head}:resnet11", num_classes=4).eval()
    seen: list[torch.Size] = []
    backbone_of(model).register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    with torch.no_grad():
        found = model([torch.rand(3, 40, 56), torch.rand(3, 50, 30)])
    # 50×56, padded to a multiple of the coarsest stride: 8, or 16 of RetinaNet
    assert seen == [torch.Size([2, 3, 64 if head == "retinanet" else 56, 64 if head == "retinanet" else 56])]
    assert len(found) == 2
    for image, size in zip(found, [(40, 56), (50, 30)], strict=True):
        assert set(image) >= {"boxes", "labels", "scores"}
        assert (image["boxes"][:, 2::4] <= size[1]).all()
        if head == "maskrcnn":
            assert image["masks"].shape[1:] == (1, *size)


def test_num_classes_counts_the_background() -> None:
    model = build("fasterrcnn:resnet11", num_classes=4)
    assert model.get_submodule("roi_heads.box_predictor.cls_score").out_features == 4
    assert build("fasterrcnn:resnet11").get_submodule("roi_heads.box_predictor.cls_score").out_features == 91


def anchors(model: Any, height: int, width: int) -> list[Tensor]:
    """The anchors (A, 4) of each level, for an image."""
    images = torch.rand(1, 3, height, width)
    with torch.no_grad():
        maps = list(model.backbone(images).values())
    generator = model.anchor_generator if isinstance(model, RetinaNet) else model.rpn.anchor_generator
    every = generator(ImageList(images, [(height, width)]), maps)[0]
    counts = [
        value.shape[2] * value.shape[3] * len(cell) for value, cell in zip(maps, generator.cell_anchors, strict=True)
    ]
    return list(every.split(counts))


def test_anchors_of_small_images() -> None:
    """At stride 2: 14 and 20 pixels (14·√2 = 19.8), of the shapes 1:2, 1:1, 2:1, around the positions 0, 2, 4 …"""
    levels = anchors(build("fasterrcnn:resnet11", num_classes=3), 32, 32)
    assert [len(level) for level in levels] == [6 * 16**2, 6 * 8**2, 6 * 4**2]
    # height / width = 1/2 of a square of 14: width 14·√2 = 19.8, height 9.9; rounded half sides
    assert levels[0][:6].tolist() == [
        [-10, -5, 10, 5],
        [-14, -7, 14, 7],
        [-7, -7, 7, 7],
        [-10, -10, 10, 10],
        [-5, -10, 5, 10],
        [-7, -14, 7, 14],
    ]
    assert levels[0][6].tolist() == [-8, -5, 12, 5]
    # squares of one level and the next: 14, 20 | 28, 40 | 56, 79 (its half, 39.5, is rounded to even)
    assert [[float(level[row, 2] - level[row, 0]) for row in (2, 3)] for level in levels] == [
        [14, 20],
        [28, 40],
        [56, 80],
    ]


def test_anchors_of_a_small_retinanet() -> None:
    """At stride 4: 12, 15 (12·2^⅓ = 15.1) and 19 (12·2^⅔ = 19.05) pixels."""
    levels = anchors(build("retinanet:resnet11", num_classes=3), 32, 32)
    assert [len(level) for level in levels] == [9 * 8**2, 9 * 4**2, 9 * 2**2]
    generator: Any = build("retinanet:resnet11", num_classes=3).anchor_generator
    assert generator.sizes == ((12, 15, 19), (24, 30, 38), (48, 60, 76))


def covered(levels: list[Tensor], side: int) -> float:
    """The mean, over squares of a side anywhere in the image, of the best overlap (intersection by union)."""
    from torchvision.ops import box_iou

    corners = torch.cartesian_prod(torch.arange(0, 128 - side + 1, 7.0), torch.arange(0, 128 - side + 1, 7.0))
    return float(box_iou(torch.cat((corners, corners + side), 1), torch.cat(levels)).max(1).values.mean())


@pytest.mark.parametrize("head", ["fasterrcnn", "retinanet"])
def test_objects_of_all_sizes_are_covered(head: str) -> None:
    levels = anchors(build(f"{head}:resnet11", num_classes=3), 128, 128)
    assert min(covered(levels, side) for side in (10, 14, 20, 30, 45, 65, 90)) > 0.5


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn"])
@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_keys_are_those_of_torchvision(name: str, source: str) -> None:
    with torch.device("meta"):
        theirs = build(f"torchvision:{name}", num_classes=5)
    ours = build(f"{name.partition('_')[0]}:{source}:resnet50", num_classes=5)
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(shapes)
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes


def test_outputs_are_those_of_torchvision() -> None:
    """With the same weights: the same boxes, anchors, pooling and sizes, to the last digit."""
    torch.manual_seed(0)
    args = {"min_size": 64, "max_size": 64, "rpn_post_nms_top_n_test": 20}
    theirs = build("torchvision:fasterrcnn_resnet50_fpn", num_classes=5, args=args).eval()
    ours = build("fasterrcnn:torchvision:resnet50", num_classes=5, args=args).eval()
    ours.load_state_dict(theirs.state_dict())
    images = [torch.rand(3, 50, 70)]
    with torch.no_grad():
        expected, found = theirs(images)[0], ours(images)[0]
    assert all(torch.equal(found[key], expected[key]) for key in ("boxes", "labels", "scores"))


def test_frozen_norm() -> None:
    model = build("fasterrcnn:timm:test_resnet", num_classes=3, args={"frozen_norm": True}).train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d)]
    assert len(norms) > 5
    assert all(isinstance(module, FrozenBatchNorm2d) for module in norms)
    state = build("fasterrcnn:timm:test_resnet", num_classes=3).state_dict()
    assert set(model.state_dict()) == {key for key in state if "num_batches_tracked" not in key}


def test_arguments() -> None:
    args = {"min_size": 100, "width": 16, "box_width": 32, "box_detections_per_img": 7, "first_stride": 1}
    model: Any = build("fasterrcnn:resnet11", num_classes=3, args=args)
    assert model.transform.min_size == (100,)
    assert model.roi_heads.detections_per_img == 7
    assert model.backbone.out_channels == 16
    assert len(model.rpn.anchor_generator.sizes) == 4  # strides 1, 2, 4 and 8
    grey = build("retinanet:timm:test_resnet", args={"backbone_args": {"in_chans": 1}})
    assert backbone_of(grey).get_submodule("conv1.0").in_channels == 1


@pytest.mark.parametrize(
    ("spec", "args", "message"),
    [
        ("fasterrcnn:resnet11", {"width": "wide"}, "argument width= is 'wide', and must be a whole number"),
        ("fasterrcnn:resnet11", {"width": 0}, "argument width= is 0, and must be at least 1"),
        ("fasterrcnn:resnet11", {"no_such": 1}, "does not take the argument 'no_such'"),
        ("maskrcnn:resnet11", {"box_score_tresh": 0.1}, "'box_score_tresh'; did you mean box_score_thresh"),
        ("fasterrcnn:resnet11", {"box_head": 1}, "'box_head' is set through"),
        ("fasterrcnn:resnet11", {"first_stride": 8}, "strides 1, 2, 4, none 8"),
        ("fasterrcnn:resnet11", {"anchor_sizes": [[8], [16]]}, "strides 2, 4, 8, need one list each"),
        ("fasterrcnn:resnet11", {"anchor_sizes": [[8], [16], [2, 3]]}, "all of one length"),
        ("fasterrcnn:resnet11", {"frozen_norm": 1}, "frozen_norm= must be true or false"),
        ("fasterrcnn:resnet11", {"backbone_args": {"width": 3}}, "resnet11 takes no further arguments"),
        ("fasterrcnn:torchvision:vit_b_16", {}, "vit_b_16 cannot be a backbone"),
        ("fasterrcnn:resnet12", {}, "no CIFAR ResNet of depth 12"),
        ("fasterrcnn:torchvision:resnet19", {}, "did you mean"),
        ("deeplabv3:resnet11", {"no_such": 1}, "takes no argument 'no_such'; there are width, atrous_rates"),
        ("deeplabv3:resnet11", {"atrous_rates": [1, 2]}, "argument atrous_rates="),
    ],
)
def test_impossible_arguments(spec: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(StripeError, match=message):
        build(spec, num_classes=3, args=args)


def test_what_normalises_itself() -> None:
    assert normalizes_itself(build("maskrcnn:resnet11"))
    assert not normalizes_itself(build("fcn:resnet11"))
    assert not normalizes_itself(build("resnet11"))
