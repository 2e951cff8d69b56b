from itertools import pairwise

import numpy as np
import pytest

from stripe import plots
from stripe.errors import StripeError
from stripe.plots import NothingToDrawError

WEIGHTS = np.arange(1, 19.0).reshape(1, 3, 2, 3) / 20
BEFORE = np.arange(18.0).reshape(1, 3, 2, 3)


@pytest.fixture
def weighed(make_tree, make_site):
    """One epoch, three images, a spatial site of 2 × 3 positions."""

    def make(before=BEFORE, residual=0):
        site = make_site(WEIGHTS, "height", "width", kind="spatial", before=before)
        site.attrs["residual"] = residual
        return make_tree({"a": site}, [0], 3)

    return make


def rows_of(figure, columns):
    panels = [axes for axes in figure.axes if axes.images]
    return [panels[i : i + columns] for i in range(0, len(panels), columns)]


def shown(axes):
    return np.asarray(axes.images[0].get_array())


@pytest.mark.parametrize("residual", [0, 1])
def test_the_output_is_the_input_times_the_weight(weighed, residual):
    figure = plots.maps(weighed(residual=residual), images=[2, 0])
    rows = rows_of(figure, 4)
    for row, image in zip(rows, (2, 0), strict=False):
        np.testing.assert_allclose(shown(row[1]), BEFORE[0, image])
        np.testing.assert_allclose(shown(row[2]), WEIGHTS[0, image])
        np.testing.assert_allclose(shown(row[3]), BEFORE[0, image] * (WEIGHTS[0, image] + residual))
    assert [axes.get_title() for axes in rows[0]] == ["image", "input", "weight", "output"]
    assert figure.drawn["sites"] == ["a"]


def test_each_head_weighs_channels_of_its_own(make_tree, make_site):
    """The input is the root mean square over all channels, and so is the output."""
    weights, before = (np.stack([each, each**2], axis=2) for each in (WEIGHTS, BEFORE))
    tree = make_tree({"a": make_site(weights, "group", "height", "width", kind="spatial", before=before)}, [0], 3)
    ((_, entering, weight, leaving),) = rows_of(plots.maps(tree, images=[1]), 4)
    np.testing.assert_allclose(shown(entering), np.sqrt((BEFORE[0, 1] ** 2 + BEFORE[0, 1] ** 4) / 2))
    np.testing.assert_allclose(shown(weight), (WEIGHTS[0, 1] + WEIGHTS[0, 1] ** 2) / 2)
    products = [BEFORE[0, 1] * WEIGHTS[0, 1], BEFORE[0, 1] ** 2 * WEIGHTS[0, 1] ** 2]
    np.testing.assert_allclose(shown(leaving), np.sqrt((products[0] ** 2 + products[1] ** 2) / 2))


@pytest.mark.parametrize(("width", "columns"), [("page", 7), ("column", 4)])
def test_two_networks_stand_side_by_side_or_below_each_other(weighed, width, columns):
    figure = plots.maps([weighed(), weighed(BEFORE + 1)], images=2, width=width)
    assert len({round(axes.get_subplotspec().colspan.start) for axes in figure.axes}) == columns
    assert sum("weight" in axes.get_title() for axes in figure.axes) == 2


def test_maps_of_wide_images_leave_no_empty_band(make_tree, make_site):
    weights = np.linspace(0, 1, 3 * 4 * 16).reshape(1, 3, 4, 16)
    site = make_site(weights, "height", "width", kind="spatial", before=weights)
    figure = plots.maps(make_tree({"a": site}, [0], 3), images=3, width="column")
    figure.draw_without_rendering()
    assert figure.get_figheight() - figure.get_tightbbox().y1 < 0.12  # inches
    names = [axes.yaxis.label.get_window_extent() for axes in figure.axes if axes.get_ylabel()]
    assert not any(one.overlaps(other) for one, other in pairwise(names))


def test_over_the_image(weighed):
    plain, over = (plots.maps(weighed(), images=1, over_image=each) for each in (False, True))
    assert [len(axes.images) for axes in plain.axes if axes.images] == [1] * 4
    assert [len(axes.images) for axes in over.axes if axes.images] == [1, 2, 2, 2]


def test_what_cannot_be_drawn(weighed, capture, make_tree, make_site):
    with pytest.raises(NothingToDrawError, match="no spatial attention site"):
        plots.maps(capture)
    with pytest.raises(NothingToDrawError, match="without the maps before a"):
        plots.maps(weighed(before=None))
    fewer = make_site(WEIGHTS[:, :2], "height", "width", kind="spatial", before=BEFORE[:, :2])
    with pytest.raises(StripeError, match="hold other images"):
        plots.maps([weighed(), make_tree({"a": fewer}, [0], 2)])
