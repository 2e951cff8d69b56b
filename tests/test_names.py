import inspect
from typing import Any

import pytest

from stripe.names import counted, data_name, renamed, run_name


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"model": "resnet83"}, "resnet83"),
        ({"model": "resnet83", "attention": "none", "asr": None, "noise": None}, "resnet83"),
        ({"model": "timm:resnet50", "attention": "se"}, "timm:resnet50+se"),
        ({"model": "resnet83", "attention": "none", "asr": {"attention": "ie"}}, "resnet83+asr(ie)"),
        ({"model": "resnet83", "attention": "se", "asr": {"attention": "se"}}, "resnet83+se+asr(se)"),
        ({"model": "resnet83", "noise": {"factor": 0.8, "offset": 0.5, "std": 0}}, "resnet83+noise(0.8, 0.5)"),
    ],
)
def test_networks(settings: dict[str, Any], name: str) -> None:
    assert run_name(settings) == name


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("cifar10", "cifar10"),
        ("folder:/home/somebody/photos", "folder photos"),
        ("folder", "folder"),
        ("", ""),
        ("shapes:train=100,seed=3", "shapes:train=100,seed=3"),
        ("voc:/home/somebody/VOC2012", "voc:VOC2012"),
        ("coco:images=/home/somebody/val,annotations=/home/somebody/val.json", "coco:images=val,annotations=val.json"),
    ],
)
def test_data_sets(spec: str, name: str) -> None:
    assert data_name(spec) == name


@pytest.mark.parametrize(("count", "text"), [(0, "0 epochs"), (1, "1 epoch"), (2000, "2,000 epochs")])
def test_one_and_many(count: int, text: str) -> None:
    assert counted(count, "epoch") == text


def test_former_names_of_arguments_are_accepted():
    @renamed(tol="tolerance", site="sites")
    def called(sites, *, tolerance=0.5, **rest):
        """What it does."""
        return sites, tolerance, rest

    assert called(site="a", tol=1) == called("a", tolerance=1) == ("a", 1, {})
    assert called("a", other=2) == ("a", 0.5, {"other": 2})
    assert list(inspect.signature(called).parameters) == ["sites", "tolerance", "rest"]
    assert (called.__name__, called.__doc__) == ("called", "What it does.")
    with pytest.raises(TypeError, match="tol= is the former name of tolerance="):
        called("a", tol=1, tolerance=1)
