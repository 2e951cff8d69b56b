import math

import numpy as np
import pandas as pd
import pytest

from stripe.errors import StripeError
from stripe.plots.comparison import comparison

COLUMNS = ["group", "row", "column", "paper", "best", "best_low", "best_high", "last"]


def table(*rows):
    return pd.DataFrame(rows, columns=COLUMNS)


TWO = table(
    ("A", "plain", "CIFAR", 70.0, 50.0, 49.0, 51.0, 49.5),
    ("A", "plain", "STL", 80.0, 60.0, math.nan, math.nan, 58.0),
    ("A", "ASR", "CIFAR", 71.0, 52.0, 48.0, 56.0, 52.0),
    ("A", "ASR", "STL", math.nan, math.nan, math.nan, math.nan, math.nan),
    ("B", "plain", "CIFAR", 72.0, 54.0, 52.0, 56.0, 53.0),
)


def drawn(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return list(line.get_xdata()), list(line.get_ydata())


def test_points_stand_where_the_numbers_are():
    paper, here, *_ = comparison(TWO, here="here, small").axes
    assert drawn(paper, "CIFAR")[0] == [70.0, 71.0]
    assert drawn(here, "CIFAR") == ([50.0, 52.0], [-0.08, 0.92])  # a colour a column, side by side
    assert [text.get_text() for text in paper.get_yticklabels()] == ["plain", "ASR"]
    assert (paper.get_title("left"), here.get_title("left")) == ("A\nthe paper", "here, small")
    low, high = here.collections[0].get_segments()[0][:, 0]
    assert (low, high) == (49.0, 51.0)  # the interval of the mean


def test_lines_run_over_the_columns():
    steps = table(*[("", "SE", f"δ = {n}", 70.0 + n, 40.0 - n, math.nan, math.nan, 39.0) for n in (1, 2, 3)])
    paper, here = comparison(steps, lines=True).axes
    assert drawn(paper, "SE")[1] == [71.0, 72.0, 73.0]
    assert drawn(here, "SE")[1] == [39.0, 38.0, 37.0]
    assert [text.get_text() for text in here.get_xticklabels()] == ["δ = 1", "δ = 2", "δ = 3"]


def test_without_numbers_of_the_paper_there_is_one_panel_a_group():
    assert len(comparison(TWO.assign(paper=math.nan)).axes) == 2


def test_nothing_to_compare():
    with pytest.raises(StripeError, match="No run of this table is finished"):
        comparison(TWO.assign(best=math.nan))


def test_many_columns_have_room_and_markers_of_their_own():
    seven = table(*[("", row, f"run {n}", 70.0, 50.0 + n, 49.0, 52.0 + n, 49.0) for row in "ab" for n in range(7)])
    _, here = comparison(seven, width="column").axes
    lines = [line for line in here.lines if line.get_label().startswith("run")]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 7
    heights = np.array([line.get_ydata() for line in lines])
    assert heights[:, 0].max() < heights[:, 1].min()  # those of a row stand together


def test_lines_stand_below_each_other_in_a_column():
    steps = table(*[("", "SE", f"δ = {n}", 70.0 + n, 40.0 - n, math.nan, math.nan, 39.0) for n in (1, 2, 3)])
    paper, here = comparison(steps, lines=True, width="column").axes
    assert (paper.get_subplotspec().rowspan.start, here.get_subplotspec().rowspan.start) == (0, 1)


def test_whiskers_many_times_as_wide_as_the_points_are_cut():
    wide = table(("A", "plain", "C", 76.0, 33.0, -89.0, 155.0, 34.0), ("A", "ASR", "C", 77.0, 47.0, 12.0, 83.0, 47.0))
    figure = comparison(wide)
    low, high = figure.axes[1].get_xlim()
    assert 0 < low < 33
    assert 47 < high < 100
    assert "cut at the edge" in figure.get_supxlabel().replace("\n", " ")
