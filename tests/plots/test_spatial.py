import numpy as np
import pytest

from stripe import plots
from stripe.capture import as_capture
from stripe.plots import NothingToDrawError


@pytest.fixture
def mapped(make_tree, make_site):
    """Two epochs, three images, maps of 2 × 3 and 4 tokens."""
    maps = make_site(np.arange(36.0).reshape(2, 3, 2, 3), "height", "width", kind="spatial")
    tokens = make_site(np.arange(24.0).reshape(2, 3, 4), "token", kind="spatial", order=1)
    return make_tree({"a": maps, "b": tokens}, [0, 1], 3)


def grid(figure, columns):
    panels = [axes for axes in figure.axes if axes.images]
    return [panels[i : i + columns] for i in range(0, len(panels), columns)]


def test_rows_are_images_and_columns_the_picture_and_the_blocks(mapped):
    rows = grid(plots.spatial(mapped, images=[2, 0]), 3)
    assert len(rows) == 2
    np.testing.assert_array_equal(rows[0][0].images[0].get_array(), as_capture(mapped).thumbnail(2))
    np.testing.assert_array_equal(rows[0][1].images[0].get_array(), np.arange(30.0, 36.0).reshape(2, 3))
    np.testing.assert_array_equal(rows[1][2].images[0].get_array(), [[12.0, 13.0], [14.0, 15.0]])
    assert rows[0][0].get_ylabel() == "image 2\nbird"
    assert [axes.get_title() for axes in rows[0]] == ["input", "a\n2 × 3", "b\n2 × 2"]


def test_a_column_shares_its_colours_and_its_bar_says_which(mapped):
    figure = plots.spatial(mapped, epoch=0)
    rows = grid(figure, 3)
    limits = np.quantile(np.arange(18.0), [0.01, 0.99])
    for row in rows:
        np.testing.assert_allclose(row[1].images[0].get_clim(), limits)
    assert figure.drawn["sites"]["a"]["range"] == pytest.approx(limits)
    bar = next(axes for axes in figure.axes if not axes.images)
    assert [t.get_text() for t in bar.get_xticklabels()] == ["0.17", "17"]


def test_defaults_are_six_images_of_different_classes_and_five_blocks(cbam):
    figure = plots.spatial(cbam)
    assert len(figure.drawn["sites"]) == 5
    assert len({image % 10 for image in figure.drawn["images"]}) == 6
    assert figure.drawn == plots.spatial(cbam).drawn
    assert "names of sites end in .attention_module#2" in figure.get_supxlabel().replace("\n", " ")


def test_no_spatial_attention(capture):
    with pytest.raises(NothingToDrawError, match="no spatial attention site"):
        plots.spatial(capture)


@pytest.mark.parametrize(("shape", "dims"), [((1, 2, 5), ("token",)), ((1, 2, 2, 2, 2), ("depth", "height", "width"))])
def test_what_makes_no_map(make_tree, make_site, shape, dims):
    tree = make_tree({"t": make_site(np.zeros(shape), *dims, kind="spatial")}, [0], 2)
    with pytest.raises(NothingToDrawError, match=r"attention at t \(.*\) makes no map"):
        plots.spatial(tree)


@pytest.mark.parametrize("dims", [("group", "height", "width"), ("height", "width", "group")])
def test_of_several_heads_the_mean_is_drawn(make_tree, make_site, dims):
    values = np.arange(24.0).reshape(1, 3, 2, 2, 2)
    tree = make_tree({"a": make_site(values, *dims, kind="spatial")}, [0], 3)
    panel = [axes for axes in plots.spatial(tree, images=[1]).axes if axes.images][1]
    np.testing.assert_array_equal(panel.images[0].get_array(), values[0, 1].mean(dims.index("group")))
