"""``kill -9`` at any moment, then the same call: the same numbers as if nothing had happened."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from stripe import checkpoint
from stripe.capture import open_capture
from stripe.training import Run
from tests.training.killed_runs import MOMENTS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("killed_runs.py")
    subprocess.run([sys.executable, script, folder], check=True, timeout=120)
    return {path.name: Run(path) for path in folder.iterdir()}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.slow
def test_a_killed_run_ends_as_a_whole_one(runs, moment):
    run, whole = runs[moment], runs["whole"]
    timings = ["seconds", "images_per_second"]
    pd.testing.assert_frame_equal(
        run.metrics.drop(columns=timings), whole.metrics.drop(columns=timings), check_exact=True
    )
    assert len(run.metrics) == 2

    assert [path.name for path in run.checkpoints] == [path.name for path in whole.checkpoints]
    pairs = zip([*run.checkpoints, run.best_file], [*whole.checkpoints, whole.best_file], strict=True)
    for mine, other in pairs:
        a, b = checkpoint.read(mine), checkpoint.read(other)
        assert a.state_dict.keys() == b.state_dict.keys()
        assert all(torch.equal(tensor, b.state_dict[name]) for name, tensor in a.state_dict.items())
        assert {**a.meta, "provenance": None} == {**b.meta, "provenance": None}

    with open_capture(run.capture_file) as a, open_capture(whole.capture_file) as b:
        assert list(a.epoch.values) == [1, 2]
        for node in b.subtree:
            assert a[node.path].to_dataset().identical(b[node.path].to_dataset()) or node.path == "/"
        assert a.to_dataset().equals(b.to_dataset())


def test_nothing_half_is_left_behind(runs):
    for run in runs.values():
        assert not [path for path in run.path.rglob("*") if path.suffix == ".tmp"]
