"""Runs that others begin from, rows without runs, and pictures of searches and of spatial attention."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stripe.errors import StripeError
from stripe.reproduce import Changes, Plan, find, read
from stripe.reproduce.dependencies import resolve
from stripe.reproduce.execution import Machine, compute
from stripe.reproduce.figures import draw
from stripe.reproduce.findings import findings_of
from stripe.reproduce.job import located
from stripe.reproduce.output import picture
from stripe.tasks import structure
from tests.plots.conftest import site, tree
from tests.reproduce.conftest import DATA, FIGURE, RECIPE, TINY

SEARCHED = f"""
title = "A searched network"
source = "nowhere"
claim = "It is better."
columns = [
  {{ name = "first", runs = 1 }},
  {{ name = "best", runs = "best" }},
  {{ name = "mean" }},
  {{ name = "third", runs = 3 }},
  {{ name = "parameters (M)", metric = "parameters" }},
  {{ name = "more (k)", metric = "added_parameters" }},
]
rows = [
  {{ name = "plain", paper = [1, 2, 3, 4, 5, 6] }},
  {{ name = "searched", attention = "sscbam", before = {{ gives = "attention", task = "search" }} }},
  {{ name = "unknown", missing = "Nobody knows it.", paper = [7, 7, 7, 7, 7, 7] }},
]

[run]
model = "resnet11"
data = "{DATA}"
image_size = 16

[draw]
kind = "table"
"""

ONCE = Changes(epochs=1, images_per_epoch=8, seeds=2)


def test_what_a_search_found_is_trained(write, cache, tmp_path):
    plan = Plan.make(read(write("mine", SEARCHED)), "quick", ONCE)
    (search,) = plan.before
    assert (search.task, search.attention, search.seed, len(plan.requests)) == ("search", "sscbam", 0, 4)
    first, failures = compute(cache.plan(plan.before), cache, Machine(device="cpu"))
    assert failures == {}
    plan = resolve(plan, first, failures)
    found = structure.attention_of(structure.read(first[search].path))
    assert {request.attention for request in plan.requests} == {"none", found}
    served, failures = compute(cache.plan(plan.requests), cache, Machine(device="cpu"))
    assert failures == {}
    (path,) = picture(plan, {**first, **served}, cache, failures, tmp_path / "out", device="cpu")
    numbers = pd.read_csv(path.parent / "numbers.csv").set_index(["row", "column"])
    each = [served[request].run.best.test_accuracy for request in plan.requests if request.attention == "none"]
    assert numbers.best["plain", "first"] == each[0]
    assert numbers.best["plain", "best"] == max(each)
    assert numbers.best["plain", "mean"] == pytest.approx(sum(each) / 2)
    assert ("plain", "third") not in numbers.index  # there are two seeds
    assert numbers.best["plain", "parameters (M)"] == pytest.approx(0.127642)  # as stripe.bench says
    assert numbers.best["plain", "more (k)"] == 0
    assert math.isnan(numbers.best["unknown", "mean"])
    page = (path.parent / "README.md").read_text()
    assert "- unknown: Nobody knows it." in page
    assert "| unknown | 7.00 → –" in page
    addresses = {run["address"] for run in json.loads((path.parent / "provenance.json").read_text())["runs"]}
    assert first[search].path.name in addresses


def test_without_the_search_nothing_follows(write, cache):
    plan = Plan.make(read(write("mine", SEARCHED)), "quick", ONCE)
    first = cache.plan(plan.before)
    name = next(iter(first.values())).path.name
    assert resolve(plan, first).cells == plan.cells  # not yet
    stopped = resolve(plan, first, {name: "no power"})
    assert {request.attention for request in stopped.requests} == {"none"}
    assert any(cell.problem == f"the run before, {name}: no power" for cell in stopped.cells)


def test_weights_of_another_run_are_found_beside_it(write, cache):
    text = FIGURE.replace('attention = "se"', 'attention = "se"\nbefore = { gives = "backbone_ckpt", seed = 0 }')
    with pytest.raises(StripeError, match=r"\[run\], before: unknown key 'seed'"):
        read(write("picture", text))
    plan = Plan.make(find(["table5"])[0], "paper")
    assert {request.model for request in plan.before} == {"timm:resnet50", "timm:resnet101"}
    assert {request.data for request in plan.before} == {"imagenet"}
    assert {(request.attention, request.mode) for request in plan.before} == {
        (request.attention, request.mode) for request in plan.requests
    }
    (cache.folder / "other").mkdir(parents=True)
    (cache.folder / "other" / "best.safetensors").touch()
    request = Plan.make(read(write("picture", FIGURE)), "quick", TINY).requests[0]
    there = located(replace(request, backbone_ckpt="other/best.safetensors"), cache.folder)
    assert there.backbone_ckpt == str(cache.folder / "other" / "best.safetensors")
    assert located(request, cache.folder) == request


def test_the_picture_of_a_search(write, cache, tmp_path):
    text = RECIPE.replace('mode = "asr"', 'task = "search"\nattention = "sscbam"').replace('"table"', '"search"')
    text = text.replace('name = "one copy"', 'name = "identity"').replace(
        'name = "two copies", copies = 2', 'name = "sa"'
    )
    text = text.replace('name = "SE", attention = "se"', 'name = "α0"').replace(
        'name = "IE", attention = "ie"', 'name = "α1"'
    )
    plan = Plan.make(read(write("found", text)), "quick", Changes(epochs=1, images_per_epoch=8))
    assert (len(plan.requests), len(plan.cells)) == (1, 4)
    served, failures = compute(cache.plan(plan.requests), cache, Machine(device="cpu"))
    (path,) = picture(plan, served, cache, failures, tmp_path / "out", device="cpu")
    weights = structure.read(served[plan.requests[0]].path)["weight"].isel(epoch=-1)
    numbers = pd.read_csv(path.parent / "numbers.csv").set_index(["row", "column"])
    assert numbers.best["α1", "sa"] == pytest.approx(float(weights.isel(block=1).sel(operation="sa")))


def test_maps_of_spatial_attention(write, cache, tmp_path):
    text = RECIPE.replace('kind = "table"', 'kind = "maps"\nsites = "layer1*"\nimages = 2').replace("columns = ", "# ")
    text = text.replace('"se", paper = [75.5, nan]', '"spsa"').replace('"ie", paper = [74, 73.5]', '"spsa,reverse=no"')
    text = text.replace('mode = "asr"\n', "")
    plan = Plan.make(read(write("looks", text)), "quick", Changes(epochs=1, images_per_epoch=8))
    assert {request.capture for request in plan.requests} == {100}  # that of the scale
    served, failures = compute(cache.plan(plan.requests), cache, Machine(device="cpu"))
    drawn = draw(plan, served, cache, failures, device="cpu")
    assert drawn.figures["looks"].drawn["kind"] == "maps"
    assert drawn.figures["looks"].drawn["sites"] == ["layer1.0.attention_module"] * 2
    titles = [axes.get_title() for axes in drawn.figures["looks"].axes]
    assert titles.count("input") == titles.count("output") == 2
    assert "resnet11 + spsa,reverse=no\nweight" in titles
    picture(plan, served, cache, failures, tmp_path / "out", device="cpu")
    numbers = pd.read_csv(tmp_path / "out" / "looks" / "numbers.csv")
    assert numbers.run.tolist() == ["SE"] * 3 + ["IE"] * 3
    assert numbers.site.tolist()[:3] == [f"layer{stage}.0.attention_module" for stage in (1, 2, 3)]
    assert numbers.mean_weight.between(0, 1).all()  # (1 − σ(C))² and σ(C)²


def test_weights_are_compared_with_the_size_of_the_map():
    dims = ("epoch", "image", "height", "width")
    sizes = np.array([[1.0, 2, 3, 6], [5, 1, 1, 1], [4, 3, 2, 1], [1, 1, 1, 1]]).reshape(1, 4, 2, 2)
    weights = np.array([[0.1, 0.2, 0.3, 0.6], [0.1, 0.5, 0.5, 0.5], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    variables = {"attention": (dims, weights.reshape(1, 4, 2, 2)), "input_rms": (dims, sizes)}
    table, sentence = findings_of("maps", tree({"a": site(variables, "spatial", "SPSA", [8, 2, 2], 0)}, [0], 4))
    assert table.correlation_with_size.tolist() == pytest.approx([(1 - 1 + 1) / 3])  # a flat map has none
    assert table.mean_weight.tolist() == pytest.approx([4.8 / 16])
    assert "correlate with the size of the map by +0.33" in sentence
