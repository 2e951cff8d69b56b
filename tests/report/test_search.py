"""Structure searches in the page."""

import numpy as np

from stripe import report
from stripe.report.search import search_record, search_sentence
from stripe.tasks import structure
from stripe.training import Run
from tests.report.conftest import HOSTILE, MADE_BY, contents

FIRST, PARALLEL, IDENTITY = (0.1, 0.6, 0.1, 0.1, 0.1), (0.2, 0.05, 0.05, 0.35, 0.35), (0.6, 0.1, 0.1, 0.1, 0.1)


def searched(path, *epochs, names=("layer1.0.att", "layer1.1.att")) -> Run:
    for epoch, blocks in enumerate(epochs, 1):
        alpha = {name: np.log(np.maximum(p, 1e-9)) for name, p in zip(names, blocks, strict=True)}
        structure.write(path, epoch, alpha, family="cbam", kernel_size=7)
    return Run(path)


def test_the_record_of_one_search(make_run):
    record = search_record([searched(make_run(), (FIRST, FIRST), (PARALLEL, FIRST))])
    assert record["blocks"] == ["layer1.0", "layer1.1"]
    assert record["epochs"] == [0, 1, 2]
    assert record["chosen"] == ["CA, SA", "CA→SA"]
    assert record["parts"] == [[3, 4], [1]]
    np.testing.assert_allclose(record["weights"][0][1], [0.2, 0.6, 0.05], atol=1e-6)
    assert search_sentence(record) == "Of 2 blocks after epoch 2: CA, SA in 1, CA→SA in 1."


def test_seeds_are_averaged_and_counted(make_run):
    runs = [
        searched(make_run(f"seed-{seed}", seed=seed), (FIRST, p)) for seed, p in enumerate([FIRST, FIRST, IDENTITY])
    ]
    record = search_record(runs)
    assert record["counts"] == [3, 2]
    np.testing.assert_allclose(record["weights"][1][0], [0.2, (0.1 + 0.1 + 0.6) / 3], atol=1e-6)
    # The first two seeds chose CA→SA everywhere, the third in half of the blocks: 2 · ½ blocks by chance.
    assert (record["same"], record["chance"]) == (1, 1.0)
    said = search_sentence(record)
    assert "All 3 seeds chose the same in 1 of them, where chance" in said
    assert "would give 1.0; the choice shown is the most frequent." in said


def test_a_search_that_learnt_nothing_agrees_in_nothing(make_run):
    runs = [searched(make_run(f"seed-{seed}", seed=seed), ((0.2,) * 5, (0.0, 0.51, 0.49, 0, 0))) for seed in (0, 1)]
    record = search_record(runs)
    assert record["chosen"] == ["undecided", "undecided"]
    assert record["parts"] == [[], []]
    assert (record["counts"], record["same"], record["chance"]) == ([0, 0], 0, 0)
    said = search_sentence(record)
    assert "undecided in 2. A block is undecided where no choice leads by 0.1." in said
    assert "the same in 0 of them" in said


def test_the_page_shows_weights_and_choice(make_run):
    html = report.page(runs=[searched(make_run(), (FIRST, PARALLEL))], made_by=MADE_BY)
    assert contents(html)["search"]["chosen"] == ["CA→SA", "CA, SA"]
    assert "<strong>0.6000</strong>" in html
    assert html.count("<strong>0.3500</strong>") == 2
    assert 'id="search-chart"' in html


def test_controls_are_a_table(make_run):
    run = searched(make_run(), (FIRST, PARALLEL))
    rows = [
        "seed,choice,name,attention,last,best",
        "0,found by the search,found,a,50,51",
        "0,at random,random-1,b,48.5,49",
    ]
    (run.path / "controls.csv").write_text("\n".join(rows))
    html = report.page(runs=[run], made_by=MADE_BY)
    row = '<tr><th scope="row">at random</th><td class="number">48.50 %</td><td class="number">49.00 %</td>'
    assert f'{row}<td class="number">−1.50</td></tr>' in html
    (run.path / "controls.csv").write_text("seed,choice")
    html = report.page(runs=[run], made_by=MADE_BY)
    assert "controls.csv cannot be read" in html


def test_a_page_of_another_run_says_nothing_of_it(make_run):
    html = report.page(runs=[Run(make_run())], made_by=MADE_BY)
    assert contents(html)["search"] is None
    assert 'id="search"' not in html


def test_a_damaged_search_still_has_a_page(make_run):
    path = make_run()
    (path / structure.FILE).write_bytes(b"not HDF5")
    html = report.page(runs=[Run(path)], made_by=MADE_BY)
    assert "search.nc cannot be read" in html
    assert 'id="search"' not in html


def test_names_of_blocks_are_text(make_run):
    html = report.page(runs=[searched(make_run(), (FIRST, FIRST), names=(HOSTILE, "b"))], made_by=MADE_BY)
    assert "<img" not in html
