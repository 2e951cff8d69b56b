import math
from dataclasses import replace

import pytest
import torch

from stripe.reproduce import Cache, Changes, Plan, read
from stripe.reproduce.cache import Sources
from stripe.reproduce.dependencies import resolve
from stripe.reproduce.estimate import estimate, makespan
from tests.reproduce.test_transfer import STYLES


def test_what_is_there_takes_no_time_and_the_rest_some(table, cache):
    planned = list(cache.plan(table.requests).values())
    planned[0] = replace(planned[0], state="cached")
    seconds = estimate(planned, device="cpu")
    assert seconds[planned[0].path] == 0
    assert all(seconds[run.path] > 0 for run in planned[1:])
    half = replace(planned[1], state="unfinished", done=1)
    assert estimate([half], device="cpu")[half.path] > 0


def test_style_transfer_before_its_classifier_is_trained(write, cache):
    plan = Plan.make(read(write("styles", STYLES)), "quick", Changes(epochs=1, images_per_epoch=8))
    (run, _) = cache.plan(resolve(plan, cache.plan(plan.before)).requests).values()
    seconds = estimate([run], device="cpu", sources=cache.sources, before={run.path: plan.before[0]})
    assert seconds[run.path] > 0
    assert not cache.folder.exists()


def test_a_network_that_cannot_be_built_has_no_estimate(figure, tmp_path):
    request = replace(figure.requests[0], model="python:nowhere:make", attention="none", image_size=16)
    (planned,) = Cache(tmp_path, Sources()).plan([request]).values()
    assert math.isnan(estimate([planned], device="cpu")[planned.path])


@pytest.mark.parametrize(
    ("threads", "jobs", "expected"),
    [
        (4, 1, 60.0),
        (4, 4, 4 * 30.0),  # each on one thread; the longest decides
        (1, 2, 40.0),  # on cores of their own: 10 + 30, 20
        (2, 2, 2 * 40.0),
    ],
)
def test_several_side_by_side(threads, jobs, expected, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert makespan([10.0, 20.0, 30.0], jobs) == expected
