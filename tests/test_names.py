from typing import Any

import pytest

from stripe.names import data_name, run_name


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
    [("cifar10", "cifar10"), ("folder:/home/somebody/photos", "folder photos"), ("folder", "folder"), ("", "")],
)
def test_data_sets(spec: str, name: str) -> None:
    assert data_name(spec) == name
