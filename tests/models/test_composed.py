import subprocess
import sys

import pytest

from stripe.errors import StripeError
from stripe.models import composed, task_of
from stripe.models.from_torchvision import names


@pytest.mark.parametrize(
    ("spec", "task"),
    [
        ("maskrcnn:resnet20", "detection"),
        ("fasterrcnn:timm:seresnet50", "detection"),
        ("retinanet:torchvision:resnet50", "detection"),
        ("deeplabv3:resnet20", "segmentation"),
        ("fcn:timm:resnet50", "segmentation"),
        ("torchvision:ssdlite320_mobilenet_v3_large", "detection"),
        ("torchvision:lraspp_mobilenet_v3_large", "segmentation"),
        ("resnet20", "classification"),
        ("torchvision:resnet50", "classification"),
        ("timm:fcn_resnet50", "classification"),
        ("python:maskrcnn:make", "classification"),
    ],
)
def test_task_of(spec: str, task: str) -> None:
    assert task_of(spec) == task


def test_task_of_all_of_torchvisions() -> None:
    """Its own lists tell which network does what."""
    import torchvision.models as tv

    found = {name: task_of(f"torchvision:{name}") for name in names()}
    assert {name for name, task in found.items() if task == "detection"} == set(tv.list_models(module=tv.detection))
    segmenters = set(tv.list_models(module=tv.segmentation))
    assert {name for name, task in found.items() if task == "segmentation"} == segmenters


def test_a_name_does_not_cost_torch() -> None:
    code = "import sys; from stripe.models import task_of; task_of('fcn:resnet20'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parse() -> None:
    assert composed.parse("fcn:timm:resnet50") == ("fcn", "timm:resnet50")
    assert composed.parse("timm:resnet50") is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("maskrcnn", "names no backbone: write maskrcnn:resnet20"),
        ("fcn:", "names no backbone"),
        ("fcn:maskrcnn:resnet20", "maskrcnn:resnet20 cannot be the backbone of a fcn"),
        ("maskrcnn:torchvision:fcn_resnet50", "torchvision:fcn_resnet50 cannot be the backbone"),
    ],
)
def test_parse_refuses(spec: str, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        composed.parse(spec)
