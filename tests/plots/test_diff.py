import numpy as np
import pytest

from stripe import plots
from stripe.errors import StripeError
from stripe.plots import NothingToDrawError
from stripe.plots.diff import learning_rate_drops


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


@pytest.fixture
def settling(make_tree, make_site):
    """Three epochs, two images, two channels, differences by hand."""
    values = [[[0.0, 0.5], [0.2, 0.5]], [[0.4, 0.5], [0.0, 0.75]], [[0.4, 0.25], [0.0, 0.75]]]
    return make_tree({"se": make_site(values)}, [1, 2, 10], 2, [0.1, 0.1, 0.01])


def test_panels_hold_the_differences_channels_by_epochs(settling):
    first, second = panels(plots.diff(settling))
    np.testing.assert_allclose(first.images[0].get_array(), [[0.4, 0.0], [0.0, 0.25]])
    np.testing.assert_allclose(second.images[0].get_array(), [[0.2, 0.0], [0.25, 0.0]])


def test_black_is_no_difference_and_panels_share_their_colours(settling):
    first, second = (axes.images[0] for axes in panels(plots.diff(settling)))
    assert first.get_clim() == second.get_clim()
    assert first.get_clim()[0] == 0
    assert sum(first.cmap(0.0)[:3]) < 0.02


def test_a_column_is_named_by_its_later_epoch(settling):
    axes = panels(plots.diff(settling))[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["2", "10"]
    assert axes.get_xlabel() == "epoch t+1"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["0", "1"]


def test_the_drop_stands_before_the_first_difference_it_made(settling):
    figure = plots.diff(settling)
    lines = [line.get_xdata()[0] for line in panels(figure)[0].lines if line.get_linestyle() == ":"]
    assert lines == [0.5]  # between column 0, epoch 1 → 2, and column 1, epoch 2 → 10
    assert "learning rate drops" in figure.get_supxlabel()


@pytest.mark.parametrize(
    ("rate", "drops"),
    [
        ([0.1, 0.1, 0.01, 0.01, 0.001, 0.001], [2, 4]),
        ([0.1, 0.1, 0.02, 0.02], [2]),
        (0.05 * (1 + np.cos(np.linspace(0, np.pi, 30))), []),
        ([np.nan] * 4, []),
        ([0.01, 0.1, 0.1, 0.1], []),
        ([np.nan, 0.1, 0.1, 0.1, 0.01], [4]),
    ],
)
def test_drops_of_schedules(rate, drops):
    assert learning_rate_drops(rate).tolist() == drops


def test_defaults_are_four_images_of_different_classes_and_twenty_channels(make_tree, make_site):
    values = np.random.default_rng(0).random((3, 40, 64))
    tree = make_tree({name: make_site(values, order=i) for i, name in enumerate("abc")}, [0, 1, 2], 40)
    figure = plots.diff(tree)
    assert list(figure.drawn["sites"]) == ["b"]
    assert len({image % 10 for image in figure.drawn["images"]}) == 4
    assert len(figure.drawn["sites"]["b"]["channels"]) == 20
    assert figure.drawn == plots.diff(tree).drawn
    assert figure.drawn != plots.diff(tree, seed=1).drawn
    assert figure.get_suptitle() == "b"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_as_many_panels_as_images(capture, count, tmp_path):
    figure = plots.diff(capture, images=count)
    assert len(panels(figure)) == count
    plots.save(figure, tmp_path / "a.png")


def test_several_sites_a_row_each(capture):
    figure = plots.diff(capture, sites="layer*.0.*", images=[4, 2])
    labels = [axes.get_ylabel() for axes in panels(figure)]
    assert labels == ["layer1.0\nchannel", "", "layer2.0\nchannel", "", "layer3.0\nchannel", ""]
    assert figure.drawn["images"] == [4, 2]


def test_the_picture_of_the_image_stands_above_its_panel(capture):
    figure = plots.diff(capture, images=[3])
    box = panels(figure)[0].artists[0].offsetbox
    picture, label = box.get_children()
    np.testing.assert_array_equal(picture.get_data(), capture["thumbnail"].values[3])
    assert label.get_text() == "image 3\ncat"


def test_one_epoch_is_one_sentence(make_tree, make_site):
    tree = make_tree({"se": make_site(np.ones((1, 2, 3)))}, [4], 2)
    with pytest.raises(NothingToDrawError, match=r"needs two epochs, and the capture holds 1.*stripe capture --ckpt"):
        plots.diff(tree)


def test_an_unknown_image(capture):
    with pytest.raises(StripeError, match=r"No such image: 1000\. There are 40, from 0 to 39"):
        plots.diff(capture, images=[1000])


def test_attention_that_never_moves(make_tree, make_site, tmp_path):
    tree = make_tree({"se": make_site(np.ones((3, 2, 4)))}, [0, 1, 2], 2)
    figure = plots.diff(tree)
    low, high = panels(figure)[0].images[0].get_clim()
    assert low == 0 < high
    plots.save(figure, tmp_path / "a.png")
