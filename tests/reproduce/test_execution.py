"""Runs side by side, killed and continued; pictures and what lies beside them."""

import json
import math
import multiprocessing
from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from stripe import asr, bench, checkpoint
from stripe.analysis import metrics
from stripe.capture import open_capture
from stripe.errors import StripeError
from stripe.reproduce import Plan, read
from stripe.reproduce.execution import Machine, Watch, compute
from stripe.reproduce.output import picture
from stripe.training import Run, loop
from stripe.training.network import build
from tests.reproduce.conftest import FIGURE, RECIPE, TINY


def run(plan, cache, machine=None, watch=None):
    served, failures = compute(cache.plan(plan.requests), cache, machine or Machine(), watch)
    return served, failures


def test_a_figure_and_all_that_lies_beside_it(figure, cache, tmp_path):
    served, failures = run(figure, cache)
    assert failures == {}
    (path,) = picture(figure, served, cache, failures, tmp_path / "out")
    assert path == tmp_path / "out" / "picture" / "picture.png"
    drawn = json.loads(Image.open(path).text["Description"])["drawn"]
    assert (drawn["kind"], len(drawn["images"])) == ("diff", 2)

    page = (path.parent / "README.md").read_text()
    assert "**The paper** (nowhere): It settles." in page
    assert "**Here** (quick scale): 2 epochs of 8 of 18 training images (2 held out) at 16 px" in page
    assert "of a site's values stay within 0.01" in page
    numbers = pd.read_csv(path.parent / "numbers.csv")
    assert list(numbers.site) == [f"layer{stage}.0.attention_module" for stage in (1, 2, 3)]
    assert numbers.settled_at_drop.between(0, 1).all()

    made_by = json.loads((path.parent / "provenance.json").read_text())
    (recorded,) = made_by["runs"]
    assert recorded["address"] == served[figure.requests[0]].path.name
    assert recorded["settings"] == Run(served[figure.requests[0]].path).settings
    assert made_by["scale"] == "quick"
    assert made_by["files"] == ["picture.png", "numbers.csv", "README.md"]


def test_a_table_beside_the_paper_s_and_nothing_is_trained_twice(table, cache, tmp_path):
    trained = []
    served, failures = run(table, cache, watch=Watch(end=lambda job, problem: trained.append(job.name)))
    assert len(trained) == 4
    picture(table, served, cache, failures, tmp_path / "out")
    numbers = pd.read_csv(tmp_path / "out" / "mine" / "numbers.csv")
    assert list(zip(numbers.row, numbers.column, strict=True)) == [
        (row, column) for row in ("SE", "IE") for column in ("one copy", "two copies")
    ]
    first = served[table.cells[0].requests[0]].run
    assert numbers.best[0] == first.best.test_accuracy
    assert numbers["last"][3] == served[table.cells[3].requests[0]].run.metrics.test_accuracy.iloc[-1]
    assert numbers.paper[0] == 75.5
    assert math.isnan(numbers.paper[1])
    page = (tmp_path / "out" / "mine" / "README.md").read_text()
    assert f"| SE | 75.50 → {numbers.best[0]:.2f} ({numbers['last'][0]:.2f}) | – → " in page

    run(table, cache, watch=Watch(end=lambda job, problem: trained.append(job.name)))
    assert len(trained) == 4


@pytest.mark.parametrize("kind", ["stripe", "std", "index"])
def test_every_kind_of_picture_of_a_capture(write, cache, tmp_path, kind):
    text = FIGURE.replace('kind = "diff"\nimages = 2\nchannels = 3', f'kind = "{kind}"')
    plan = Plan.make(read(write(kind, text)), "quick", TINY)
    served, failures = run(plan, cache)
    (path,) = picture(plan, served, cache, failures, tmp_path / "out")
    with open_capture(served[plan.requests[0]].path / "capture.h5") as tree:
        expected = metrics(tree).query("epoch == 2")
    numbers = pd.read_csv(path.parent / "numbers.csv")
    ours, theirs = {"std": ("std_before", "input_std_median")}.get(kind, ("index_after", "stripe_index"))
    assert numbers[ours].tolist() == pytest.approx(expected[theirs].tolist())


def test_spatial_attention(write, cache, tmp_path):
    text = FIGURE.replace('"se"', '"cbam"').replace('kind = "diff"\nimages = 2\nchannels = 3', 'kind = "spatial"')
    plan = Plan.make(read(write("spatial", text)), "quick", TINY)
    served, failures = run(plan, cache)
    (path,) = picture(plan, served, cache, failures, tmp_path / "out")
    with open_capture(served[plan.requests[0]].path / "capture.h5") as tree:
        expected = metrics(tree).query("epoch == 2 and kind == 'spatial'")
    numbers = pd.read_csv(path.parent / "numbers.csv")
    assert numbers["correlation"].tolist() == pytest.approx(expected["map_correlation"].tolist())
    assert numbers["map"].tolist() == ["16 × 16", "8 × 8", "4 × 4"]


def test_grad_cam_of_several_runs(write, cache, tmp_path):
    text = RECIPE.replace('kind = "table"', 'kind = "gradcam"').replace("columns = ", "# ")
    text = text.replace(", paper = [75.5, nan]", "").replace(", paper = [74, 73.5]", "")
    plan = Plan.make(read(write("looks", text)), "quick", TINY)
    served, failures = run(plan, cache)
    (path,) = picture(plan, served, cache, failures, tmp_path / "out")
    drawn = json.loads(Image.open(path).text["Description"])["drawn"]
    assert [panel["count"] for panel in drawn["panels"]] == [12, 12]
    numbers = pd.read_csv(path.parent / "numbers.csv")
    assert numbers.network.tolist() == ["SE", "IE"]
    assert numbers.center_bias.tolist() == pytest.approx([panel["center_bias"] for panel in drawn["panels"]])
    assert picture(plan, served, cache, failures, tmp_path / "out") == [path]  # from the averages that are there


def test_top_5_is_scored_from_the_weights_and_speed_is_measured_once(write, cache, tmp_path, monkeypatch):
    columns = ['name = "top-1"', 'name = "top-5", metric = "top5"']
    text = RECIPE.replace('name = "one copy"', columns[0]).replace('name = "two copies", copies = 2', columns[1])
    plan = Plan.make(read(write("five", text)), "quick", TINY)
    served, failures = run(plan, cache)
    paths = picture(plan, served, cache, failures, tmp_path / "out")
    assert [path.name for path in paths] == ["five.png", "five-top5.png"]
    numbers = pd.read_csv(tmp_path / "out" / "five" / "numbers.csv").set_index(["row", "column"])
    assert numbers.seeds.tolist() == [1] * 4
    assert numbers.best["SE", "top-1"] <= numbers.best["SE", "top-5"] <= 100
    first = served[plan.requests[0]]
    best = asr.restore(checkpoint.read(first.run.best_file)).eval()
    data = cache.sources.load(first.request)
    images, labels = next(iter(data.test.loader(12)))
    hits = [int(label in row) for row, label in zip(best(data.normalize(images)).topk(5).indices, labels, strict=True)]
    assert numbers.best["SE", "top-5"] == pytest.approx(100 * sum(hits) / 12)


def test_speeds_are_measured_once_a_machine(write, cache, tmp_path, monkeypatch):
    text = RECIPE.replace('kind = "table"', 'kind = "tradeoff"').replace(", copies = 2", ', metric = "speed"')
    plan = Plan.make(read(write("trade", text)), "quick", TINY)
    plan = replace(plan, scale=replace(plan.scale, bench_batch=2, bench_repeats=1))
    served, failures = run(plan, cache)
    measured, original = [], bench.measure
    monkeypatch.setattr(bench, "measure", lambda networks, **kw: measured.append(networks) or original(networks, **kw))
    for _ in range(2):
        picture(plan, served, cache, failures, tmp_path / "out")
    assert measured == [["resnet11+asr(se)+fused", "resnet11+asr(ie)+fused"]]
    numbers = pd.read_csv(tmp_path / "out" / "trade" / "numbers.csv")
    assert numbers.metric.tolist() == ["speed", "speed", "accuracy", "accuracy"]
    assert (numbers.best[:2] > 0).all()


def test_an_interrupted_run_goes_on(figure, cache, monkeypatch):
    """Ctrl-C in the second epoch leaves the first."""
    with monkeypatch.context() as patched:
        calls, original = [], loop.evaluate

        def interrupt(*args, **kwargs):
            calls.append(1)
            if len(calls) == 3:  # an epoch has two: test and held-out images
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        patched.setattr(loop, "evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(figure, cache)
    (planned,) = cache.plan(figure.requests).values()
    assert (planned.state, planned.done) == ("unfinished", 1)

    epochs = []
    served, _ = run(figure, cache, watch=Watch(epoch=lambda job, metrics: epochs.append(metrics.epoch)))
    assert epochs == [2]
    assert {planned.state for planned in served.values()} == {"cached"}


# Starts a process that imports torch, as the others below: 5 to 10 s.
@pytest.mark.slow
def test_a_killed_process_is_replaced_and_its_run_goes_on(deadly, cache, tmp_path):
    epochs, again = [], []
    watch = Watch(epoch=lambda job, metrics: epochs.append(metrics.epoch), again=lambda job: again.append(job.name))
    served, failures = run(deadly, cache, Machine(jobs=2, device="cpu"), watch)
    assert (tmp_path / "died").exists()
    assert failures == {}
    assert epochs == [1, 2]  # the first one is not repeated
    assert len(again) == 1
    assert next(iter(served.values())).state == "cached"
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_side_by_side_is_the_same_as_in_turn(table, cache, tmp_path):
    served, _ = run(table, cache, Machine(device="cpu"))
    other = type(cache)(tmp_path / "other", cache.sources)
    beside, failures = run(table, other, Machine(jobs=2, device="cpu"))
    assert failures == {}
    assert not multiprocessing.active_children()
    for request, planned in served.items():
        assert beside[request].path.name == planned.path.name
        for column in ("train_loss", "test_accuracy"):
            mine, theirs = (run.run.metrics[column].tolist() for run in (beside[request], planned))
            assert mine == pytest.approx(theirs, rel=1e-3)  # another number of threads adds in another order


def test_a_run_that_fails_leaves_a_gap_and_the_others(table, cache, tmp_path, monkeypatch):
    original = loop.train_epoch

    def diverge(model, *args, **kwargs):
        if sum(parameter.numel() for parameter in model.parameters()) == sizes[0]:
            raise StripeError("The loss became nan")
        return original(model, *args, **kwargs)

    sizes = [sum(p.numel() for p in build(table.requests[3].description(10)).parameters())]
    monkeypatch.setattr(loop, "train_epoch", diverge)
    served, failures = run(table, cache)
    assert list(failures.values()) == ["The loss became nan"]
    picture(table, served, cache, failures, tmp_path / "out")
    numbers = pd.read_csv(tmp_path / "out" / "mine" / "numbers.csv")
    assert numbers.best.isna().tolist() == [False, False, False, True]
    assert "- IE, two copies: The loss became nan" in (tmp_path / "out" / "mine" / "README.md").read_text()


def test_a_figure_whose_run_failed_says_so(figure, cache, tmp_path):
    served = cache.plan(figure.requests)
    name = next(iter(served.values())).path.name
    with pytest.raises(StripeError, match=f"its run {name} could not be finished: no power"):
        picture(figure, served, cache, {name: "no power"}, tmp_path)
    with pytest.raises(StripeError, match="is not finished \\(0 of 2 epochs\\)"):
        picture(figure, served, cache, {}, tmp_path)


def test_a_folder_that_cannot_be_made(figure, cache, tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StripeError, match="cannot be used as a folder"):
        run(figure, cache)
