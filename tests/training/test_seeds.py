import json
import math

import numpy as np
import pytest

from stripe.errors import StripeError
from stripe.training import Run, train, train_seeds
from stripe.training.seeds import summarise

SETTINGS = {"model": "resnet11", "device": "cpu", "save_every": 0}


@pytest.fixture(scope="module")
def out(tmp_path_factory, tiny_data, tiny_recipe):
    out = tmp_path_factory.mktemp("seeds") / "runs"
    train_seeds(out, tiny_data, [1, 2], recipe=tiny_recipe, **SETTINGS)
    return out


def test_each_seed_is_the_run_that_it_would_be_alone(out, tmp_path, tiny_data, tiny_recipe):
    alone = train(tmp_path / "alone", tiny_data, seed=2, recipe=tiny_recipe, **SETTINGS)
    assert list(Run(out / "seed-2").metrics.test_loss) == list(alone.metrics.test_loss)
    assert list(Run(out / "seed-1").metrics.test_loss) != list(alone.metrics.test_loss)


def test_the_same_images_are_held_out(out):
    first, second = (Run(out / f"seed-{seed}").settings for seed in (1, 2))
    assert first["held_out"] == second["held_out"] == {"images": 2, "seed": 0}
    assert {key for key in first if first[key] != second[key]} == {"seed"}


def test_the_summary(out):
    record = json.loads((out / "seeds.json").read_text())
    runs = [Run(out / f"seed-{seed}") for seed in (1, 2)]
    last = [run.metrics.test_accuracy.iloc[-1] for run in runs]
    best = [run.metrics.test_accuracy[run.metrics.val_accuracy.argmax()] for run in runs]
    assert [row["seed"] for row in record["runs"]] == [1, 2]
    assert [row["last"] for row in record["runs"]] == last
    assert [row["best"] for row in record["runs"]] == best
    assert record["last"] == {"mean": pytest.approx(np.mean(last)), "std": pytest.approx(np.std(last, ddof=1))}
    assert record["best"] == {"mean": pytest.approx(np.mean(best)), "std": pytest.approx(np.std(best, ddof=1))}
    assert record["scale"] == runs[0].scale
    assert record["select"] == "val"
    assert {"stripe", "torch", "command"} <= record["provenance"].keys()


def test_one_seed_has_no_deviation(out):
    summary = summarise([Run(out / "seed-1")])
    assert summary["best"]["std"] is None
    assert not math.isnan(summary["best"]["mean"])


def test_going_on_skips_what_is_finished_and_adds(out, tiny_data, tiny_recipe):
    told = []
    train_seeds(
        out,
        tiny_data,
        [1, 2, 3],
        recipe=tiny_recipe,
        on_seed=told.append,
        on_epoch=lambda m: told.append(m),
        **SETTINGS,
    )
    assert told[:3] == [1, 2, 3]
    assert len(told) == 6
    assert len(json.loads((out / "seeds.json").read_text())["runs"]) == 3


def test_a_single_run_is_not_mixed_with_several(tmp_path, tiny_data, tiny_recipe):
    train(tmp_path / "run", tiny_data, recipe=tiny_recipe.scaled(1), **SETTINGS)
    with pytest.raises(StripeError, match="single run"):
        train_seeds(tmp_path / "run", tiny_data, [0], recipe=tiny_recipe, **SETTINGS)
