import numpy as np
import pytest

from stripe import plots
from stripe.errors import StripeError
from stripe.plots import NothingToDrawError


def arrays(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def titles(figure, loc):
    return [axes.get_title(loc=loc) for axes in figure.axes if axes.images]


@pytest.fixture
def striped(make_tree, make_site):
    """Two epochs, four images, three channels: noise before, perfect stripes after in the second epoch."""
    before = np.arange(24.0).reshape(2, 4, 3)
    after = np.stack([np.arange(12.0).reshape(4, 3), np.tile([0.1, 0.5, 0.9], (4, 1))])
    return make_tree({"se": make_site(after, before=before)}, [3, 7], 4)


def test_the_panels_hold_the_values_of_the_last_epoch(striped):
    before, after = arrays(plots.stripe(striped))
    np.testing.assert_array_equal(before, np.arange(12.0, 24.0).reshape(4, 3))
    np.testing.assert_array_equal(after, np.tile([0.1, 0.5, 0.9], (4, 1)))


def test_the_index_of_all_values_stands_above(striped):
    figure = plots.stripe(striped, images=2, channels=2)
    # Var of the channel means (15.5, 16.5, 17.5) is 2/3, of all values 12 … 23 it is 143/12.
    assert titles(figure, "right") == [f"η² = {(2 / 3) / (143 / 12):.3f}", "η² = 1.000"]
    assert [a.get_xlabel() for a in figure.axes if a.images] == ["channel (2 of 3)"] * 2
    assert figure.axes[0].get_ylabel() == "image (2 of 4)"


def test_chosen_images_channels_and_epoch(striped):
    figure = plots.stripe(striped, images=[3, 1], channels=[2], epoch=3)
    np.testing.assert_array_equal(arrays(figure)[1], [[11.0], [5.0]])
    assert figure.drawn["images"] == [3, 1]
    assert figure.drawn["epoch"] == 3
    assert "epoch 3" in figure.get_supxlabel()


def test_nearly_perfect_is_not_called_perfect(make_tree, make_site):
    values = np.tile([0.0, 1.0], (1, 50, 1))
    values[0, 0, 0] = 0.01
    figure = plots.stripe(make_tree({"se": make_site(values)}, [0], 50))
    assert titles(figure, "right") == ["η² > 0.999"]


def test_without_input_there_is_only_after(make_tree, make_site):
    figure = plots.stripe(make_tree({"se": make_site(np.ones((1, 3, 2)))}, [0], 3))
    assert titles(figure, "left") == ["se\nafter attention"]
    assert titles(figure, "right") == ["η² undefined"]  # nothing varies


def test_by_default_three_sites_one_a_row(capture):
    figure = plots.stripe(capture)
    assert [t.split("\n")[0] for t in titles(figure, "left")[::2]] == list(figure.drawn["sites"])
    assert len(figure.drawn["sites"]) == 3
    bars = [axes for axes in figure.axes if not axes.images]
    assert [axes.get_xlabel() for axes in bars[:2]] == ["GAP", "v"]  # below, where no neighbour's axis is
    assert not any(axes.get_ylabel() for axes in bars)
    assert "1–99 % quantiles" in figure.get_supxlabel().replace("\n", " ")


def test_samples_are_repeatable_and_differ_by_seed(capture):
    draws = [plots.stripe(capture, images=5, channels=6, seed=seed) for seed in (1, 1, 2)]
    assert draws[0].drawn == draws[1].drawn
    assert draws[0].drawn["images"] != draws[2].drawn["images"]
    for first, second in zip(arrays(draws[0]), arrays(draws[1]), strict=True):
        np.testing.assert_array_equal(first, second)
    drawn = draws[0].drawn
    values = capture["sites/layer1.0.attention_module/attention"].sel(epoch=6).values
    expected = values[np.ix_(drawn["images"], drawn["sites"]["layer1.0.attention_module"]["channels"])]
    np.testing.assert_array_equal(arrays(draws[0])[1], expected)


def test_branches_are_further_channels(make_tree, make_site):
    values = np.arange(24.0).reshape(1, 2, 3, 4)
    figure = plots.stripe(make_tree({"sk": make_site(values, "branch", "channel", kind="branch")}, [0], 2))
    np.testing.assert_array_equal(arrays(figure)[0], np.arange(24.0).reshape(2, 12))
    assert figure.axes[0].get_xlabel() == "branch × channel (12)"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 5), (1, 5, 1)])
def test_a_single_image_or_channel(make_tree, make_site, shape, tmp_path):
    figure = plots.stripe(make_tree({"se": make_site(np.full(shape, np.float16(0.5)))}, [0], shape[1]))
    plots.save(figure, tmp_path / "a.png")


def test_missing_values_are_drawn_as_missing(make_tree, make_site):
    values = np.array([[[np.nan, 1.0], [2.0, np.inf]]])
    array = arrays(plots.stripe(make_tree({"se": make_site(values)}, [0], 2)))[0]
    np.testing.assert_array_equal(array.mask, [[True, False], [False, True]])


def test_errors(cbam, make_tree, make_site):
    spatial = make_tree({"sp": make_site(np.ones((1, 2, 3, 3)), "height", "width", kind="spatial")}, [0], 2)
    with pytest.raises(NothingToDrawError, match="no channel or branch or strip attention site"):
        plots.stripe(spatial)
    with pytest.raises(StripeError, match="epoch 99"):
        plots.stripe(cbam, epoch=99)
    with pytest.raises(StripeError, match="No such channel: 400"):
        plots.stripe(cbam, channels=[400])


def test_too_many_sites_for_one_picture(make_tree, make_site):
    tree = make_tree({f"b{i}": make_site(np.ones((1, 2, 2)), order=i) for i in range(200)}, [0], 2)
    with pytest.raises(StripeError, match="Choose fewer sites"):
        plots.stripe(tree, sites="*")


def test_lazy_captures_are_drawn(capture):
    lazy = capture.chunk({"image": 7})
    for first, second in zip(arrays(plots.stripe(capture)), arrays(plots.stripe(lazy)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_ticks_are_the_numbers_of_the_images_and_channels(striped):
    axes = plots.stripe(striped, images=[3, 1], channels=[2, 0]).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["3", "1"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "0"]


def test_a_tiny_range_is_said_and_not_stretched(make_tree, make_site):
    values = 0.5 + 1e-4 * np.linspace(0, 1, 40).reshape(1, 10, 4)
    figure = plots.stripe(make_tree({"se": make_site(values)}, [0], 10))
    low, high = figure.axes[0].images[0].get_clim()
    assert high - low == pytest.approx(0.005, rel=1e-3)
    assert "a range of 1e-04 or less" in figure.get_supxlabel().replace("\n", " ")


def test_a_column_has_its_colour_bars_below_the_panels(striped):
    figure = plots.stripe(striped, width="column", cmap="magma")
    assert figure.get_figwidth() == pytest.approx(3.3)
    before, after, *bars = figure.axes
    figure.draw_without_rendering()
    assert before.get_position().x1 < after.get_position().x0
    assert all(bar.get_position().y1 < after.get_position().y0 for bar in bars)
    assert before.images[0].get_cmap().name == "magma"


def test_a_column_of_three_sites_is_no_page_tall(capture):
    assert plots.stripe(capture, width="column").get_figheight() < 7


def test_a_site_whose_input_does_not_vary_is_said_to_tell_nothing(make_tree, make_site):
    stripes = np.tile([0.1, 0.5, 0.9], (1, 4, 1))
    sites = {
        "still": make_site(stripes, before=np.tile([1.0, 2.0, 3.0], (1, 4, 1))),
        "learned": make_site(stripes, before=np.arange(12.0).reshape(1, 4, 3)),
    }
    tree = make_tree(sites, [0], 4)
    text = "1 of 2 sites: their input does not vary, which tells nothing"
    for figure in (plots.stripe(tree), plots.index(tree), plots.beside("index", [tree, tree])):
        assert text in figure.get_supxlabel().replace("\n", " ")
    assert "tells nothing" not in plots.index(tree, sites="learned").get_supxlabel()
