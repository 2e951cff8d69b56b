"""Pictures of a capture with a control: the control is drawn beside each site, lighter or in a panel of its own."""

import numpy as np
import pytest
import xarray as xr

from stripe import plots


@pytest.fixture
def controlled(make_tree, make_site):
    """Noise that training made of perfect stripes, and two controls: the stripes, and a value in between."""
    rng = np.random.default_rng(0)
    noise, stripes = rng.random((1, 30, 2)), np.tile([0.2, 0.8], (30, 1))
    tree = make_tree({"a.se": make_site(noise)}, [3], 30)
    for name, values in {"init": stripes, "permuted": stripes + rng.normal(0, 0.1, stripes.shape)}.items():
        site = xr.Dataset({"attention": (("image", "channel"), values)}, attrs=tree["sites/a.se"].attrs)
        about = {"epoch": 0, "how": "at initialisation", "seed": 0, "digest": "", "order": 0}
        tree[f"controls/{name}"] = xr.DataTree(xr.Dataset(attrs=about))
        tree[f"controls/{name}/sites/a.se"] = xr.DataTree(site)
    return tree


def test_stripe_has_a_panel_of_the_control(controlled) -> None:
    figure = plots.stripe(controlled)
    panels = [axes for axes in figure.axes if axes.images and axes.get_title(loc="left")]
    assert [axes.get_title(loc="left").split("\n")[-1] for axes in panels][-2:] == ["after attention", "control init"]
    np.testing.assert_allclose(panels[-1].images[0].get_array(), np.tile([0.2, 0.8], (30, 1)))
    assert panels[-1].get_title(loc="right") == "η² = 1.000"


def test_std_has_a_lighter_bar(controlled) -> None:
    figure = plots.std(controlled)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-1] == "after attention, control init"
    dots = {line.get_label(): line.get_xdata() for line in figure.axes[0].lines}
    assert dots["after attention, control init"][0] <= 1e-6 < dots["after attention"][0]


def test_index_marks_the_error_of_every_control(controlled) -> None:
    figure = plots.index(controlled)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["control init", "control permuted"]
    errors = next(axes for axes in figure.axes if axes.get_title(loc="left") in ("output error", "constant error"))
    marks = {line.get_label(): float(line.get_xdata()[0]) for line in errors.lines}
    assert marks["control init"] == pytest.approx(0, abs=1e-9)
    assert 5 < marks["control permuted"] < 40


def test_a_narrow_stripe_has_the_control_at_the_right(controlled) -> None:
    figure = plots.stripe(controlled, width="column")
    panels = [axes for axes in figure.axes if axes.images and axes.get_title(loc="left")]
    assert panels[-1].get_title(loc="left").split("\n") == ["", "control init", "η² = 1.000"]
    assert [axes.get_xlabel() for axes in panels].count("channel (2)") == 1


def test_index_marks_stay_within_the_panel(controlled) -> None:
    errors = next(axes for axes in plots.index(controlled).axes if axes.get_title(loc="left").endswith("error"))
    places = {line.get_label(): float(line.get_ydata()[0]) for line in errors.lines}
    assert places["control init"] == pytest.approx(0)  # of three marks it is the middle one
    assert places["control permuted"] == pytest.approx(0.2)
