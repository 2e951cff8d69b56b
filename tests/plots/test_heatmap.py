import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from stripe.plots.heatmap import colorbar, heatmap, robust_limits


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def test_the_image_holds_the_values():
    values = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    image = heatmap(Figure().subplots(), values, limits=(0, 5))
    np.testing.assert_array_equal(image.get_array(), values)
    assert image.get_clim() == (0, 5)


def test_a_value_that_is_missing_is_grey_and_in_no_colour_map():
    figure = Figure(figsize=(2, 2), dpi=50)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    heatmap(axes, [[np.nan, 1.0], [0.0, 1.0]], limits=(0, 1))
    top_left, bottom_right = pixels(figure)[20, 20], pixels(figure)[80, 80]
    np.testing.assert_allclose(top_left[:3] / 255, to_rgba("0.6")[:3], atol=0.01)
    assert len(set(bottom_right[:3].tolist())) > 1


def test_where_cells_are_smaller_than_pixels_values_are_averaged():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = Figure(figsize=(1, 1), dpi=20)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    checkered = np.indices((400, 400)).sum(0) % 2
    image = heatmap(axes, checkered, limits=(0, 1))
    half = np.array(image.cmap(0.5)) * 255
    np.testing.assert_allclose(pixels(figure)[10, 10], half, atol=6)  # half of the way, not half of the colour


def test_long_cells_do_not_run_into_each_other():
    """Where rows are smaller than some pixels, columns that are far wider keep their edges."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = Figure(figsize=(2, 2), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    heatmap(axes, np.tile([0.0, 1.0], (80, 1)), limits=(0, 1))
    row = pixels(figure)[100, :, :3].astype(int)
    assert axes.get_xlim() == (-0.5, 1.5)
    assert (row[:85] == row[0]).all()
    assert (row[115:] == row[-1]).all()


def test_half_precision_is_drawn():
    image = heatmap(Figure().subplots(), np.array([[0.5, 1.0]], np.float16), limits=(0, 1))
    assert image.get_array().dtype == np.float32


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_limits_of_nothing(values):
    assert robust_limits(values) == (0.0, 1.0)


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0, 1e6])
def test_limits_of_a_constant_enclose_it(value):
    low, high = robust_limits(np.full(9, value))
    assert low < value < high


def test_limits_ignore_outliers_and_gaps():
    values = np.concatenate([np.arange(101), [np.nan]])
    assert robust_limits(values) == (1.0, 99.0)
    assert robust_limits(values, low=0, high=1) == (0.0, 100.0)


@pytest.mark.parametrize(
    ("limits", "extend"), [((0, 4), "neither"), ((1, 4), "min"), ((0, 3), "max"), ((1, 3), "both")]
)
def test_a_colour_bar_is_pointed_where_values_lie_outside(limits, extend):
    axes = Figure().subplots()
    bar = colorbar(heatmap(axes, [[0, 2, 4]], limits=limits), axes, "v")
    assert bar.extend == extend
    assert bar.ax.get_ylabel() == "v"
