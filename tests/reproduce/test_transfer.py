"""Style transfer in recipes: a classifier that is trained before, pictures, and the losses over all test images."""

import json

import pandas as pd
import pytest
from PIL import Image

from stripe.reproduce import Changes, Plan, read
from stripe.reproduce.dependencies import resolve
from stripe.reproduce.execution import Machine, compute
from stripe.reproduce.output import picture
from tests.reproduce.conftest import DATA

STYLES = f"""
title = "Two normalisations"
source = "nowhere"
claim = "They differ."
rows = [{{ name = "IN", args = {{ norm = "in" }} }}, {{ name = "BN", args = {{ norm = "bn" }} }}]

[run]
model = "style"
data = "{DATA}"
image_size = 16
args = {{ width = 4 }}
task = "style"
task_args = {{ style = "drawn:rings", style_size = 16 }}
before = {{ gives = "perceptual_ckpt", model = "resnet11", data = "{DATA}", image_size = 16 }}

[draw]
kind = "transfer"
images = 2
"""


def test_losses_over_the_test_images_are_those_of_the_training(write, cache, tmp_path):
    plan = Plan.make(read(write("styles", STYLES)), "quick", Changes(epochs=1, images_per_epoch=8))
    first, failures = compute(cache.plan(plan.before), cache, Machine(device="cpu"))
    plan = resolve(plan, first, failures)
    served, failures = compute(cache.plan(plan.requests), cache, Machine(device="cpu"))
    assert failures == {}
    (path,) = picture(plan, {**first, **served}, cache, failures, tmp_path / "out", device="cpu")
    numbers = pd.read_csv(path.parent / "numbers.csv").set_index("network")
    for name, request in zip(("IN", "BN"), plan.requests, strict=True):
        epoch = served[request].run.history[-1]
        assert numbers.images[name] == 12
        assert numbers.content[name] == pytest.approx(epoch.test_content, rel=1e-3)
        assert numbers["style"][name] == pytest.approx(epoch.test_style, rel=1e-3)
        assert numbers.style_low[name] < numbers["style"][name] < numbers.style_high[name]
    drawn = json.loads(Image.open(path).text["Description"])["drawn"]
    assert (drawn["kind"], list(drawn["runs"])) == ("transfer", ["IN", "BN"])
    assert "style: drawn:rings, features: resnet11 (trained on" in (path.parent / "README.md").read_text()
