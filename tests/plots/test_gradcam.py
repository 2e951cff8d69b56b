import numpy as np
import pytest
import xarray as xr

from stripe import plots
from stripe.plots import NothingToDrawError


def layer(mean: np.ndarray, name: str = "layer3", **attrs: object) -> xr.Dataset:
    mass, moment = np.full(4, 0.5, np.float32), np.array([0.3, 0.4, 0.4, 0.5], np.float32)
    return xr.Dataset(
        {
            "mean": (("height", "width"), mean.astype(np.float32)),
            "mass": ("image", mass),
            "moment": ("image", moment),
            "mean_image": (("y", "x", "rgb"), np.full((4, 4, 3), (255, 0, 0), np.uint8)),
        },
        attrs={"layer": name, "target": "predicted", "count": np.int64(4), "empty": np.int64(0), **attrs},
    )


@pytest.fixture
def tree(make_tree):
    """A capture that Grad-CAM of one or several layers was added to."""

    def make(*layers: xr.Dataset, **attrs: str) -> xr.DataTree:
        root = make_tree({}, [0], 4, **attrs).to_dataset().drop_vars("thumbnail")
        return xr.DataTree.from_dict({"/": root, **{f"/gradcam/{data.attrs['layer']}": data for data in layers}})

    return make


def panels(figure):
    return [axes for axes in figure.axes if axes.images and axes.get_xlabel()]


def test_a_panel_a_capture_in_the_same_colours(tree) -> None:
    first, second = np.linspace(0.1, 0.4, 12).reshape(3, 4), np.linspace(0.3, 0.8, 12).reshape(3, 4)
    figure = plots.gradcam([tree(layer(first)), tree(layer(second), attention="srm", data="folder:/home/me/stl10")])
    left, right = panels(figure)
    np.testing.assert_allclose(left.images[0].get_array(), first, rtol=1e-6)
    np.testing.assert_allclose(right.images[0].get_array(), second, rtol=1e-6)
    for axes in (left, right):
        np.testing.assert_allclose(axes.images[0].get_clim(), (0.1, 0.8), rtol=1e-6)
    assert left.get_title() == "resnet29 + se\ncifar10"
    assert right.get_title() == "resnet29 + srm\nfolder stl10"


def test_the_centre_bias_is_written_below_and_recorded(tree) -> None:
    """1.6 / 2."""
    figure = plots.gradcam(tree(layer(np.eye(3))))
    assert panels(figure)[0].get_xlabel().startswith("layer3\n4 images, predicted class\ncentre bias 0.80 [0.")
    (panel,) = figure.drawn["panels"]
    assert panel["center_bias"] == pytest.approx(0.8)
    assert panel["interval"][0] < 0.8 < panel["interval"][1]
    assert (panel["layer"], panel["count"], panel["model"]) == ("layer3", 4, "resnet29")


def test_each_panel_says_its_own_images_and_weights(tree) -> None:
    """Those of the maps, even in a capture of other weights; a scale that does not hold for all is not said."""
    trained = tree(layer(np.eye(3), epoch=np.int64(7), weights="checkpoints"))
    trained.attrs["scale"] = "12 epochs"
    drawn_at_random = tree(layer(np.eye(3), count=np.int64(9), target="label", weights="random, seed 0"))
    drawn_at_random.attrs["scale"] = "12 epochs"
    figure = plots.gradcam([trained, drawn_at_random])
    left, right = panels(figure)
    assert left.get_xlabel().split("\n")[:2] == ["layer3, epoch 7", "4 images, predicted class"]
    assert right.get_xlabel().split("\n")[1] == "9 images, labelled class"
    assert "random weights" in right.get_title()
    (third,) = panels(plots.gradcam(tree(layer(np.eye(3), target="class 3"))))
    assert third.get_xlabel().split("\n")[1] == "4 images, class 3"
    assert "random" not in left.get_title()
    assert "12 epochs" not in figure.get_supxlabel()
    assert "12 epochs" in plots.gradcam(trained).get_supxlabel()


def test_every_layer_of_a_file_and_several_rows(tree) -> None:
    figure = plots.gradcam(tree(*(layer(np.eye(3), f"layer{i}") for i in range(5))))
    assert [axes.get_xlabel().split("\n")[0] for axes in panels(figure)] == [f"layer{i}" for i in range(5)]


def test_over_the_mean_image(tree) -> None:
    axes = panels(plots.gradcam(tree(layer(np.eye(3))), over_image=True))[0]
    picture, heatmap = axes.images
    np.testing.assert_allclose(picture.get_array(), 0.299 * 255)  # how bright red looks
    assert picture.get_extent() == heatmap.get_extent()
    assert heatmap.get_alpha() == 0.6


def test_maps_of_zeros(tree) -> None:
    dark = layer(np.zeros((3, 3)), empty=np.int64(4))
    figure = plots.gradcam(tree(dark.assign(mass=dark["mass"] * 0, moment=dark["moment"] * 0)))
    assert panels(figure)[0].get_xlabel() == "layer3\n4 images, predicted class\nall zeros"
    assert "4 maps are zero everywhere" in figure.get_supxlabel()
    figure._repr_png_()


def test_a_capture_without(capture, tree) -> None:
    for captures in (capture, [tree(layer(np.eye(3))), capture]):
        with pytest.raises(NothingToDrawError, match="holds no Grad-CAM maps; `stripe gradcam -o` adds them"):
            plots.gradcam(captures)


def test_the_other_kinds_on_maps_alone(tree) -> None:
    for kind in ("stripe", "std", "spatial", "index"):
        with pytest.raises(NothingToDrawError, match="Grad-CAM maps and no attention"):
            plots.draw(kind, tree(layer(np.eye(3))))
