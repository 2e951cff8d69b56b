"""Weights of a search over the epochs, from files with known values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from stripe import plots
from stripe.errors import StripeError
from stripe.tasks import structure


@dataclass
class Run:
    path: Path
    settings: dict[str, Any]
    metrics: pd.DataFrame
    scale: str = "2 epochs of all 100 training images"


def make_run(
    folder: Path, epochs: list[list[tuple[float, ...]]], seed: int = 0, penalty: float = 0.1, **settings: Any
) -> Run:
    path = folder / f"seed-{seed}"
    for epoch, blocks in enumerate(epochs, 1):
        alpha = {f"layer{number}.0.attention_module": np.log(p) for number, p in enumerate(blocks, 1)}
        structure.write(path, epoch, alpha, family="cbam", kernel_size=7)
    described = {"model": "resnet11", "attention": "sscbam", "data": "folder:/home/me/photos", "seed": seed}
    described |= {"task": {"name": "search", "options": {"penalty": penalty}}, **settings}
    return Run(path, described, pd.DataFrame())


FIRST, SECOND = (0.1, 0.6, 0.1, 0.1, 0.1), (0.2, 0.05, 0.05, 0.35, 0.35)
IDENTITY = (0.6, 0.1, 0.1, 0.1, 0.1)


def lines(axes: Axes) -> dict[str, Line2D]:
    return dict(zip(structure.OPERATIONS, axes.lines, strict=True))


def test_the_weights_of_each_block_from_their_start(tmp_path: Path) -> None:
    figure = plots.search([make_run(tmp_path, [[SECOND, FIRST], [FIRST, SECOND]])])
    first, second = (axes for axes in figure.axes if axes.get_visible())
    assert lines(first)["ca>sa"].get_xdata().tolist() == [0, 1, 2]
    np.testing.assert_allclose(lines(first)["ca>sa"].get_ydata(), [0.2, 0.05, 0.6], rtol=1e-6)
    np.testing.assert_allclose(lines(second)["identity"].get_ydata(), [0.2, 0.1, 0.2], rtol=1e-6)
    assert first.get_title(loc="left") == "layer1.0: CA→SA"
    assert second.get_title(loc="left") == "layer2.0: CA, SA"
    thick = [{name for name, line in lines(axes).items() if line.get_linewidth() > 1} for axes in (first, second)]
    assert thick == [{"ca>sa"}, {"ca", "sa"}]
    assert figure.drawn["chosen"] == {"layer1.0.attention_module": "ca>sa", "layer2.0.attention_module": "ca|sa"}
    caption = figure.get_supxlabel().replace("\n", " ")
    assert "resnet11 + sscbam · folder photos" in caption
    assert "penalty w = 0.1" in caption
    assert "/home/me" not in caption


def test_seeds_become_a_mean_a_range_and_a_count(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, [[block]], seed) for seed, block in enumerate([FIRST, IDENTITY, FIRST])]
    figure = plots.search(runs)
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "layer1.0.attention_module: CA→SA  2/3"
    np.testing.assert_allclose(lines(axes)["ca>sa"].get_ydata(), [0.2, (0.6 + 0.1 + 0.6) / 3], rtol=1e-6)
    shade = axes.collections[1].get_paths()[0].vertices
    assert {(1.0, 0.1), (1.0, 0.6)} <= {(x, round(y, 6)) for x, y in shade.tolist()}
    caption = figure.get_supxlabel().replace("\n", " ")
    assert "mean and range over seeds" in caption
    assert "all 3 seeds the same: 0 of 1 blocks, by chance 0.0" in caption


def test_a_block_in_which_nothing_leads_is_undecided(tmp_path: Path) -> None:
    flat = [[(0.2,) * 5, FIRST]]
    figure = plots.search([make_run(tmp_path, flat), make_run(tmp_path, flat, seed=1)])
    first, second = (axes for axes in figure.axes if axes.get_visible())
    assert first.get_title(loc="left") == "layer1.0: undecided"
    assert second.get_title(loc="left") == "layer2.0: CA→SA  2/2"
    assert all(line.get_linewidth() < 1 for line in first.lines)
    caption = figure.get_supxlabel().replace("\n", " ")
    assert "undecided: no lead of 0.1" in caption
    # Each seed decided the same for one block of two, which two shufflings of ½ put together in half of the cases.
    assert "all 2 seeds the same: 1 of 2 blocks, by chance 0.5" in caption


def test_a_seed_that_is_not_finished_counts_as_far_as_it_is(tmp_path: Path) -> None:
    figure = plots.search([make_run(tmp_path, [[FIRST], [FIRST]]), make_run(tmp_path, [[IDENTITY]], seed=1)])
    np.testing.assert_allclose(lines(figure.axes[0])["ca>sa"].get_ydata(), [0.2, 0.35, 0.6], rtol=1e-6)


def test_controls_stand_below(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, [[FIRST] * 4], seed) for seed in (0, 1)]
    rows = [
        f"{seed},{choice},{name},{attention},{last},50"
        for seed, others in enumerate([(50, 46, 53), (40, 38, 41)])
        for (choice, name, attention), last in zip(
            [
                ("found by the search", "found", "se"),
                ("at random", "random-1", "eca"),
                ("CA in all blocks", "all-ca", "x"),
            ],
            others,
            strict=True,
        )
    ]
    (tmp_path / "controls.csv").write_text("\n".join(["seed,choice,name,attention,last,best", *rows]))
    below = plots.search(runs).axes[-1]
    assert [label.get_text() for label in below.get_yticklabels()] == ["CA in all blocks", "at random"]
    assert below.lines[0].get_xdata().tolist() == [2, -3]
    ends = [segment[:, 0].tolist() for segment in below.collections[0].get_segments()]
    np.testing.assert_allclose(ends, [[2 - 12.7062, 2 + 12.7062], [-3 - 12.7062, -3 + 12.7062]], atol=1e-3)


def test_no_penalty_is_said(tmp_path: Path) -> None:
    figure = plots.search([make_run(tmp_path, [[FIRST]], penalty=0.0)])
    assert "no penalty" in figure.get_supxlabel()


@pytest.mark.parametrize(("width", "columns"), [("column", 2), ("page", 4)])
def test_panels_stand_in_as_many_columns_as_fit(tmp_path: Path, width: Any, columns: int) -> None:
    figure = plots.search([make_run(tmp_path, [[FIRST] * 8])], width=width)
    plots.save(figure, tmp_path / "search.svg")
    assert len({round(axes.get_position().x0, 3) for axes in figure.axes}) == columns
    assert figure.get_figwidth() == pytest.approx({"column": 3.3, "page": 7.0}[width])


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    other = Run(tmp_path / "other", {"model": "resnet11", "seed": 0}, pd.DataFrame())
    with pytest.raises(plots.NothingToDrawError, match="other is no structure search that has finished an epoch"):
        plots.search([other])
    free = make_run(tmp_path / "free", [[FIRST]], penalty=0.0)
    with pytest.raises(StripeError, match="2 networks or ways of searching in one picture"):
        plots.search([make_run(tmp_path, [[FIRST]]), free])
    with pytest.raises(StripeError, match="0 networks"):
        plots.search([])
