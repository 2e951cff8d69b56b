import numpy as np
import pytest

from stripe import plots
from stripe.errors import StripeError


def matrix(figure):
    return figure.axes[0].images[0].get_array()


@pytest.fixture
def mixed(make_tree, make_site):
    """Perfect stripes, noise without any, and a value that never varies."""
    stripes = np.tile([0.2, 0.8], (2, 4, 1))
    noise = np.tile([[0.0, 1.0], [1.0, 0.0]], (2, 2, 1))
    constant = np.full((2, 4, 2), 0.5)
    sites = {"a.se": make_site(stripes), "b.se": make_site(noise, order=1), "c.se": make_site(constant, order=2)}
    return make_tree(sites, [1, 5], 4)


def test_a_row_a_site_and_a_column_an_epoch(mixed):
    figure = plots.index(mixed)
    np.testing.assert_allclose(matrix(figure)[:2], [[1, 1], [0, 0]], atol=1e-12)
    assert matrix(figure).mask.tolist() == [[False, False], [False, False], [True, True]]
    assert figure.axes[0].images[0].get_clim() == (0, 1)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["1", "5"]


def test_cells_without_an_index_are_explained(mixed, capture):
    assert "v does not vary" in plots.index(mixed).legends[0].get_texts()[0].get_text()
    assert not plots.index(capture).legends


def test_few_epochs_are_numbered_and_many_are_not(mixed, make_tree, make_site):
    assert [t.get_text() for t in plots.index(mixed).axes[0].texts] == ["1", "1", "0", "0"]
    many = make_tree({"se": make_site(np.random.default_rng(0).random((40, 4, 2)))}, range(40), 4)
    assert not plots.index(many).axes[0].texts


def test_numbers_are_left_out_where_a_narrow_figure_has_no_room(make_tree, make_site):
    twelve = make_tree({"se": make_site(np.random.default_rng(0).random((12, 4, 2)))}, range(12), 4)
    assert len(plots.index(twelve, width="page").axes[0].texts) == 12
    assert not plots.index(twelve, width="column").axes[0].texts


@pytest.mark.parametrize(
    ("between", "text"), [(0.996, ".996"), (0.9996, ">.999"), (0.25, ".250"), (0.0004, "<.001"), (1.0, "1")]
)
def test_only_a_constant_is_called_1(between, text, make_tree, make_site):
    """Two channels and two images, v = 0.5 ± a ± b: a² between the channels, b² within, which add up to 0.04 here."""
    a, b = 0.2 * np.sqrt(between), 0.2 * np.sqrt(1 - between)
    values = 0.5 + np.array([[-a - b, a + b], [-a + b, a - b]])[None]
    figure = plots.index(make_tree({"se": make_site(values)}, [1], 2))
    assert [t.get_text() for t in figure.axes[0].texts] == [text]


def test_one_epoch_and_one_site(make_tree, make_site, tmp_path):
    figure = plots.index(make_tree({"se": make_site(np.random.default_rng(0).random((1, 4, 2)))}, [9], 4))
    assert matrix(figure).shape == (1, 1)
    plots.save(figure, tmp_path / "a.png")


def test_spatial_sites_are_there_too_and_told_apart(cbam):
    figure = plots.index(cbam)
    assert matrix(figure).shape == (12, 6)
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["layer1.0.attention_module  channel", "layer1.0.attention_module#2  spatial"]
    # A map whose bright spot moves from image to image is far from constant, SE in the first stage is not.
    assert matrix(figure)[0, -1] > 0.95 > 0.5 > matrix(figure)[1, -1]


def test_chosen_sites(mixed):
    assert plots.index(mixed, sites=["c.*", "a.se"]).drawn["sites"] == ["a.se", "c.se"]
    with pytest.raises(StripeError, match="No site of the capture fits 'x'"):
        plots.index(mixed, sites="x")


def test_the_error_of_a_constant_stands_beside_it_with_its_interval(mixed, make_tree, make_site):
    """At the last epoch. Of v = 0.5 ± 0.1 in four images, √(4 / 3) · 0.1 / √(0.25 + 0.01) = 22.6 %."""
    values = np.concatenate([np.full((1, 4, 2), 0.3), np.tile([[0.4, 0.4], [0.6, 0.6]], (1, 2, 1))])
    errors = plots.index(make_tree({"a.se": make_site(values)}, [1, 5], 4)).axes[1]
    assert errors.get_title(loc="left") + errors.get_title() == "constant error"
    assert errors.lines[0].get_xdata() == pytest.approx([22.65], abs=0.01)
    low, high = errors.collections[0].get_segments()[0][:, 0]
    assert low <= 22.65 <= high
    assert plots.index(mixed, sites=["c.*", "a.se"]).axes[1].lines[0].get_xdata() == pytest.approx([0, 0])
