import numpy as np
import pytest
import xarray as xr

from stripe import plots
from stripe.errors import StripeError


@pytest.fixture
def two(make_tree, make_site):
    """A network of perfect stripes and one of noise, of ten images, with the same two sites."""
    still, noise = np.tile([0.2, 0.8], (1, 10, 1)), np.random.default_rng(0).random((1, 10, 2))
    return [
        make_tree({f"{name}.se": make_site(v, order=i) for i, name in enumerate("ab")}, [3], 10, model=model)
        for model, v in (("still", still), ("noise", noise))
    ]


def images(figure):
    return [axes for axes in figure.axes if axes.images]


def test_indices_share_their_colours(two):
    left, right = images(plots.beside("index", two))
    assert [axes.get_title("left") for axes in (left, right)] == ["still + se", "noise + se"]
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0, 1)
    np.testing.assert_array_equal(left.images[0].get_array(), [[1], [1]])
    assert [text.get_text() for text in right.get_yticklabels()] == ["a", "b"]


def test_spreads_share_their_axis(two):
    left, right = plots.beside("std", two).axes
    assert left.get_xlim() == right.get_xlim()


def test_stripes_of_a_site_share_their_colours(two):
    figure = plots.beside("stripe", two)
    panels = images(figure)
    assert len(panels) == 4  # two sites, two networks
    limits = [axes.images[0].get_clim() for axes in panels]
    assert limits[0] == limits[1]
    assert limits[2] == limits[3]
    assert figure.drawn["sites"][0]["names"] == ["a.se", "a.se"]


@pytest.mark.parametrize("kind", plots.BESIDE)
def test_networks_that_share_no_site(kind, two, make_tree, make_site, tmp_path):
    other = make_tree({"x": make_site(np.random.default_rng(1).random((1, 7, 5)))}, [1], 7, model="other")
    for width in ("column", "page"):
        figure = plots.beside(kind, [*two[:1], other], width=width)
        plots.save(figure, tmp_path / "a.png")
        assert any("other" in axes.get_title("left") for axes in figure.axes)


@pytest.fixture
def controlled(two, make_site):
    """The two, of which the network of noise has a control of stripes."""
    stripes = np.tile([0.2, 0.8], (10, 1))
    about = {"epoch": 0, "how": "at initialisation", "seed": 0, "digest": "", "order": 0}
    two[1]["controls/init"] = xr.DataTree(xr.Dataset(attrs=about))
    for name in ("a.se", "b.se"):
        site = xr.Dataset({"attention": (("image", "channel"), stripes)}, attrs=two[1][f"sites/{name}"].attrs)
        two[1][f"controls/init/sites/{name}"] = xr.DataTree(site)
    return two


def test_indices_end_in_those_of_the_control(controlled):
    figure = plots.beside("index", controlled)
    left, right = images(figure)
    assert left.images[0].get_array().shape == (2, 1)
    np.testing.assert_allclose(right.images[0].get_array()[:, 1], 1)
    assert [label.get_text() for label in right.get_xticklabels()] == ["3", "init"]
    assert "init: the control at initialisation" in figure.get_supxlabel().replace("\n", " ")


def test_spreads_have_a_lighter_bar_of_the_control(controlled):
    labels = [text.get_text() for text in plots.beside("std", controlled).legends[0].get_texts()]
    assert labels == ["after attention", "after attention, control init"]


def test_stripes_say_the_index_of_the_control(controlled):
    titles = [axes.get_title("left") for axes in images(plots.beside("stripe", controlled))]
    assert titles[1].endswith("(init 1.000)")
    assert "init" not in titles[0]


def test_other_kinds_are_of_one_capture(two):
    with pytest.raises(StripeError, match="'diff' is of one capture"):
        plots.beside("diff", two)
