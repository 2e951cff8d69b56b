"""Tables and runs by hand."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from stripe.training import EpochMetrics, Run

ROWS = [
    # backbone, attention, asr, fused, parameters, images a second
    ("resnet83", "none", "none", False, 870_000, 200.0),
    ("resnet83", "se", "none", False, 970_000, 150.0),
    ("resnet83", "none", "se", False, 975_000, 180.0),
    ("resnet83", "none", "se", True, 870_000, 198.0),
]
NAMES = ["resnet83", "resnet83+se", "resnet83+asr(se)", "resnet83+asr(se)+fused"]


@pytest.fixture
def table() -> pd.DataFrame:
    frame = pd.DataFrame(
        ROWS, columns=["backbone", "attention", "asr", "fused", "parameters", "images_per_second"]
    ).assign(model=NAMES, flops=2 * 10**8)
    rate = frame["images_per_second"]
    frame = frame.assign(lower_quartile=rate - 2, upper_quartile=rate + 2, relative_speed=rate / rate[0])
    frame.attrs.update({"processor": "an abacus", "repeats": 3})
    return frame


@pytest.fixture
def make_run(tmp_path):
    """A run directory as training leaves it, from the test accuracies of its epochs."""

    def make(*accuracies: float, name: str = "run", seed: int = 0, val: Sequence[float] = (), **settings: Any) -> Run:
        run = Run(tmp_path / name / f"seed-{seed}")
        run.path.mkdir(parents=True)
        described = {"model": "resnet83", "attention": "none", "asr": None, "data": "cifar10", "seed": seed}
        described |= {"select": "val" if val else "test", **settings}
        record = {"format": "stripe-run", "scale": "3 epochs of 10 images", "settings": described, "sessions": []}
        (run.path / "run.json").write_text(json.dumps(record))
        held_out = val or [math.nan] * len(accuracies)
        run.write_metrics(
            [
                EpochMetrics(epoch, 0.1, 1.0, 50.0, 1.0, accuracy, 1.0, 1.0, 1.0, other)
                for epoch, (accuracy, other) in enumerate(zip(accuracies, held_out, strict=True), 1)
            ]
        )
        return run

    return make
