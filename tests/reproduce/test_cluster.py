"""A dask cluster of processes on this machine."""

import json
import sys

import pytest

from stripe.errors import StripeError
from stripe.reproduce.execution import Machine, Watch, compute, on_cluster


# Two workers that import torch, one of which dies and is started anew: some 20 s.
@pytest.mark.slow
def test_runs_go_to_workers_and_a_killed_one_s_run_goes_on(deadly, table, cache, tmp_path):
    distributed = pytest.importorskip("distributed")
    ended = []
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options, resources={"GPU": 1}, local_directory=str(tmp_path / "dask")) as cluster:
        requests = [*deadly.requests, *table.requests[:2]]
        machine = Machine(scheduler=cluster.scheduler_address, device="cpu")
        watch = Watch(end=lambda job, problem: ended.append((job.name, problem)))
        served, failures = compute(cache.plan(requests), cache, machine, watch)
    assert (tmp_path / "died").exists()
    assert failures == {}
    assert sorted(ended) == sorted((planned.path.name, "") for planned in served.values())
    assert {planned.state for planned in served.values()} == {"cached"}
    killed = served[deadly.requests[0]]
    assert len(json.loads((killed.path / "run.json").read_bytes())["sessions"]) == 2  # it was taken up, not begun anew


def test_a_scheduler_that_does_not_answer(cache):
    pytest.importorskip("distributed")
    with pytest.raises(StripeError, match=r"No scheduler answers at tcp://127\.0\.0\.1:9 .*`dask scheduler`"):
        on_cluster([], "tcp://127.0.0.1:9", Watch(), timeout=0.5)


def test_a_scheduler_that_is_no_address():
    with pytest.raises(StripeError, match="scheduler='foo' is no address; give one such as tcp://host:8786"):
        on_cluster([], "foo", Watch())


def test_without_distributed(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(StripeError, match=r"pip install 'stripe-observation\[cluster\]'"):
        on_cluster([], "tcp://127.0.0.1:9", Watch())
