"""Kinds of plot that draw into axes of the user's."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from stripe import plots
from stripe.errors import StripeError
from tests.plots.conftest import network, tree
from tests.plots.test_speed import table as speeds  # noqa: F401
from tests.plots.test_training import make_run


@pytest.fixture
def axes():
    """The left one of two, in a figure with a text size of its own."""
    return Figure(layout="constrained").subplots(1, 2)[0]


@pytest.fixture(scope="module")
def mean_map():
    maps = {"mean": (("height", "width"), np.eye(3)), "mass": ("image", np.ones(4)), "moment": ("image", np.ones(4))}
    capture = tree({}, [1], 4)
    capture["gradcam/layer3"] = xr.DataTree(xr.Dataset(maps, attrs={"layer": "layer3", "count": 4, "empty": 0}))
    return capture


FRONTIER = pd.DataFrame(
    {"sites": [0, 1], "site": [None, "a"], "accuracy": [60.0, 59.0], "uncertainty": [0, 0.5], "error": [0, 0.1]}
).assign(relative_speed=[1, 1.2])


def drawn(kind, data, axes, **options):
    """Draw, and check that nothing but the axes and its colour bar were added to the figure."""
    figure = axes.figure
    before = len(figure.axes)
    assert plots.draw(kind, data, ax=axes, **options) is axes
    assert len(figure.axes) <= before + 1
    assert not figure.get_supxlabel()
    assert not figure.axes[1].has_data()
    figure.draw_without_rendering()
    return axes


def test_the_stripe_index_without_what_stands_beside_it(capture, axes):
    image = drawn("index", capture, axes, cmap="magma").images[0]
    assert image.get_array().shape == (9, 6)
    assert image.get_cmap().name == "magma"
    assert axes.get_yticklabels()[0].get_text() == "layer1.0"


def test_attention_of_one_site(capture, axes):
    drawn("stripe", capture, axes, images=10)
    assert axes.get_title("left") == "layer2.1.attention_module\nafter attention"  # the site in the middle
    assert axes.images[0].get_array().shape == (10, 32)


def test_the_spread_at_every_site(capture, axes):
    assert len(drawn("std", capture, axes).get_yticklabels()) == 9
    assert len(axes.get_legend().get_texts()) == 2


def test_differences_of_one_image(capture, axes):
    drawn("diff", capture, axes, images=[7], channels=5)
    assert axes.images[0].get_array().shape == (5, 5)
    assert axes.get_title() == "layer2.1.attention_module\nimage 7 · horse"


def test_one_map(cbam, axes):
    drawn("spatial", cbam, axes, sites="layer3.0.*", images=[1])
    np.testing.assert_array_equal(
        axes.images[0].get_array(), cbam["sites/layer3.0.attention_module#2/attention"][-1, 1]
    )


def test_one_mean_grad_cam(mean_map, axes):
    np.testing.assert_array_equal(drawn("gradcam", mean_map, axes).images[0].get_array(), np.eye(3))


def test_scores_of_runs(axes):
    drawn("training", [make_run([10, 30]), make_run([11, 31], "b")], axes)
    assert axes.get_ylabel() == "accuracy (%)"
    assert len(axes.get_legend().get_texts()) == 4  # two splits, two networks


def test_a_table_of_speeds(speeds, axes):  # noqa: F811
    assert [bar.get_width() for bar in drawn("speed", speeds, axes).patches] == [200, 150, 180, 198, 160]


def test_accuracy_against_speed(speeds, axes):  # noqa: F811
    drawn("tradeoff", speeds, axes)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("images a second", "accuracy (%)")
    assert axes.get_legend()


def test_the_cost_of_folding(axes):
    assert drawn("frontier", FRONTIER, axes).get_ylabel() == "accuracy (%)"


def test_the_style_is_that_of_the_figure(capture, axes):
    """Of matplotlib's settings, which are in force when the user draws."""
    assert drawn("index", capture, axes).title.get_fontsize() == 12


@pytest.mark.parametrize(
    ("kind", "options"),
    [("diff", {"images": 2}), ("stripe", {"sites": "layer1.*"}), ("spatial", {"images": 2})],
)
def test_several_panels_are_refused(kind, options, cbam, axes):
    with pytest.raises(StripeError, match=r"ax= takes one panel, and these are \d+: choose one"):
        plots.draw(kind, cbam, ax=axes, **options)


def test_an_array_of_axes_is_refused(capture):
    with pytest.raises(StripeError, match=r"take one: axes\[0\]"):
        plots.index(capture, ax=Figure().subplots(1, 2))


@pytest.mark.parametrize("own", [{"width": "column"}, {"style": "dark"}])
def test_axes_have_width_and_style_of_their_figure(own, capture, axes):
    with pytest.raises(StripeError, match=f"leave {next(iter(own))}= away"):
        plots.index(capture, ax=axes, **own)


def test_axes_in_a_subfigure():
    left, _ = Figure(layout="constrained").subfigures(1, 2)
    axes = left.subplots()
    assert plots.index(network(blocks=1), ax=axes) is axes
    assert len(left.axes) == 2  # the colour bar stands beside it
