from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stripe.plots.runs import by_network, run_name


@dataclass
class Run:
    path: Path
    settings: dict[str, Any]


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
def test_names(settings: dict[str, Any], name: str) -> None:
    assert run_name(settings) == name


def test_seeds_are_one_network() -> None:
    a, b, c = (Run(Path(f"x/seed-{seed}"), {"model": "a", "seed": seed, "attention": "se"}) for seed in (0, 1, 2))
    other = Run(Path("y"), {"model": "b", "seed": 0})
    assert by_network([a, other, b, c]) == {"a+se": [a, b, c], "b": [other]}
    assert by_network([]) == {}


def test_the_same_network_trained_otherwise_is_told_by_its_directory() -> None:
    long, short = (
        Run(Path(f"{name}/seed-0"), {"model": "a", "epochs": epochs}) for name, epochs in (("long", 9), ("short", 1))
    )
    alone = Run(Path("runs/alone"), {"model": "a", "epochs": 2})
    assert list(by_network([long, short, alone])) == ["a (long)", "a (short)", "a (alone)"]
