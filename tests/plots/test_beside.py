import numpy as np
import pytest

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


def test_other_kinds_are_of_one_capture(two):
    with pytest.raises(StripeError, match="'diff' is of one capture"):
        plots.beside("diff", two)
