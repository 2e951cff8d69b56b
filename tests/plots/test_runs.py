from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stripe.plots.runs import by_network


@dataclass
class Run:
    path: Path
    settings: dict[str, Any]


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
