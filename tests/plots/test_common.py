import numpy as np
import xarray as xr

from stripe.plots.common import caption, columns, image_name, label_epochs, short_names
from stripe.plots.figure import StripeFigure
from stripe.plots.style import parameters


def test_further_axes_are_laid_out_as_channels_the_last_fastest():
    values = xr.DataArray(np.arange(12).reshape(1, 2, 2, 3), dims=("epoch", "image", "branch", "channel"))
    flat = columns(values.assign_coords(branch=[0, 1], channel=[0, 1, 2]))
    assert flat.dims == ("epoch", "image", "channel")
    np.testing.assert_array_equal(flat.values, np.arange(12).reshape(1, 2, 6))


def test_a_lone_axis_of_another_name():
    values = xr.DataArray(np.zeros((2, 4)), dims=("image", "height"))
    assert columns(values).sizes == {"image": 2, "channel": 4}


def test_names_lose_what_all_share_but_no_number():
    assert short_names(["layer1.0.se", "layer2.0.se"]) == (["layer1.0", "layer2.0"], ".se")
    assert short_names(["a.b.c", "x.b.c"]) == (["a", "x"], ".b.c")
    assert short_names(["a.se"]) == (["a.se"], "")
    assert short_names(["se", "b.se"]) == (["se", "b.se"], "")
    assert short_names(["a.0.cbam.x", "a.1.cbam.y"]) == (["a.0…x", "a.1…y"], "…cbam")
    assert short_names(["a.0.x", "a.0.y"]) == (["a.0.x", "a.0.y"], "")


def test_an_image_is_named_after_its_class_where_it_is_known(capture, make_tree, make_site):
    assert image_name(capture, 3) == "image 3 · cat"
    plain = make_tree({"a": make_site(np.zeros((1, 2, 3)))}, [0], 2, classes="[]")
    assert image_name(plain, 1) == "image 1"


def test_the_caption_says_what_the_capture_says(make_tree, make_site):
    tree = make_tree({"a": make_site(np.zeros((1, 2, 3)))}, [0], 2, scale="2 of 164 epochs")
    assert caption(tree, "epoch 3", "") == "resnet29 + se · cifar10 · epoch 3 · capture seed 0 · 2 of 164 epochs"
    tree.attrs = {}
    assert caption(tree, "epoch 3") == "epoch 3"


def test_epoch_labels_are_round_and_fit():
    axes = StripeFigure(parameters("paper"), 4, 3, {}).subplots()
    label_epochs(axes, np.arange(1, 164), room=10)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["20", "40", "60", "80", "100", "120", "140", "160"]
    assert axes.get_xticks()[0] == 19
    label_epochs(axes, np.array([7]), room=10)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["7"]
    label_epochs(axes, np.array([7, 13, 1001]), room=2)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["7", "1001"]
