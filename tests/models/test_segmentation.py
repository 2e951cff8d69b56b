"""Segmenters on any classifier."""

import pytest
import torch
from torchvision.models.segmentation import FCN, DeepLabV3

from stripe.models import build


@pytest.mark.parametrize(("head", "kind"), [("deeplabv3", DeepLabV3), ("fcn", FCN)])
@pytest.mark.parametrize("attention", ["none", "eca"])
def test_a_step_of_training_moves_every_parameter(head: str, kind: type, attention: str) -> None:
    torch.manual_seed(0)
    model = build(f"{head}:resnet11", num_classes=4, attention=attention).train()
    assert type(model) is kind
    output = model(torch.rand(2, 3, 48, 40))
    assert {name: tuple(value.shape) for name, value in output.items()} == {"out": (2, 4, 48, 40)}
    output["out"].square().mean().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(("spec", "name"), [("deeplabv3", "deeplabv3_resnet50"), ("fcn", "fcn_resnet50")])
@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_keys_are_those_of_torchvision(spec: str, name: str, source: str) -> None:
    with torch.device("meta"):
        theirs = build(f"torchvision:{name}", num_classes=5)
    ours = build(f"{spec}:{source}:resnet50", num_classes=5)
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes


def test_outputs_are_those_of_torchvision() -> None:
    """With the same weights, to the last digit: the dilation of the last two stages is the same."""
    torch.manual_seed(0)
    theirs = build("torchvision:fcn_resnet50", num_classes=5).eval()
    ours = build("fcn:torchvision:resnet50", num_classes=5).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(1, 3, 64, 48)
    with torch.no_grad():
        assert torch.equal(ours(images)["out"], theirs(images)["out"])


def test_a_narrow_head_for_small_images() -> None:
    """The sum by hand: in 256 channels, width 64, three dilated 3×3, one 1×1 and one pooled 1×1, their projection."""
    model = build("deeplabv3:resnet11", num_classes=4)
    branches = 2 * (256 * 64 + 128) + 3 * (9 * 256 * 64 + 128) + (5 * 64 * 64 + 128)
    rest = 9 * 64 * 64 + 128 + 64 * 4 + 4
    assert sum(parameter.numel() for parameter in model.get_submodule("classifier").parameters()) == branches + rest
    dilations = {module.dilation for module in model.modules() if isinstance(module, torch.nn.Conv2d)}
    assert dilations == {(1, 1), (6, 6), (12, 12), (18, 18)}


def test_arguments() -> None:
    args = {"width": 8, "atrous_rates": [1, 2, 3]}
    model = build("deeplabv3:resnet11", num_classes=4, args=args)
    assert model.get_submodule("classifier.4").in_channels == 8
    maps = build("fcn:timm:test_resnet", num_classes=4, args={"backbone_args": {"output_stride": 32}})
    assert maps.eval()(torch.rand(1, 3, 64, 64))["out"].shape == (1, 4, 64, 64)
