import itertools

import numpy as np
import pytest

from stripe import plots
from stripe.plots import NothingToDrawError


def medians(axes):
    """x of the dots, a row a site, for each side."""
    return {line.get_label(): line.get_xdata() for line in axes.lines if line.get_marker() == "o"}


def test_dots_are_the_median_channels_std(make_tree, make_site):
    # Two images at mean ± std: channel means 1, 2, 4, stds .1, .2, .3 after; ten times that before.
    mean, std = np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.2, 0.3])
    after = np.stack([mean - std, mean + std])[None]
    figure = plots.std(make_tree({"se": make_site(after, before=10 * after)}, [0], 2))
    absolute, relative = figure.axes[:2]
    assert medians(absolute)["after attention"] == pytest.approx([0.2])
    assert medians(absolute)["before attention (GAP of the map)"] == pytest.approx([2.0])
    assert medians(relative)["after attention"] == pytest.approx([0.1])  # of .1, .1, .075
    assert absolute.get_xscale() == "log"


def test_lines_span_the_quantiles(make_tree, make_site):
    std = np.arange(1, 101) / 100
    after = np.stack([5 - std, 5 + std])[None]
    figure = plots.std(make_tree({"se": make_site(after)}, [0], 2))
    thin, thick = (c.get_segments()[0][:, 0] for c in figure.axes[0].collections)
    np.testing.assert_allclose(thin, np.quantile(std, [0.05, 0.95]))
    np.testing.assert_allclose(thick, np.quantile(std, [0.25, 0.75]))


def test_a_constant_is_drawn_at_the_edge_that_says_so(make_tree, make_site, tmp_path):
    varying = np.random.default_rng(0).random((1, 5, 3))
    tree = make_tree({"a": make_site(np.ones((1, 5, 3))), "b": make_site(varying, order=1)}, [0], 5)
    figure = plots.std(tree)
    assert medians(figure.axes[0])["after attention"][0] == 1e-6
    assert any("≤" in text.get_text() for text in figure.axes[0].texts)
    plots.save(figure, tmp_path / "a.png")


def test_a_mean_of_zero_and_missing_values_leave_a_gap(make_tree, make_site, tmp_path):
    zeros = make_site(np.zeros((1, 3, 2)))
    nothing = make_site(np.full((1, 3, 2), np.nan), order=1)
    figure = plots.std(make_tree({"zero": zeros, "nan": nothing}, [0], 3))
    assert np.isnan(medians(figure.axes[1])["after attention"]).all()
    plots.save(figure, tmp_path / "a.png")


def test_every_site_is_named_in_order_from_the_top(capture):
    axes = plots.std(capture).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == [f"layer{s}.{b}" for s in (1, 2, 3) for b in (0, 1, 2)]
    bottom, top = axes.get_ylim()
    assert bottom > top


def test_fifty_sites_stay_apart(make_tree, make_site):
    values = np.random.default_rng(0).random((1, 5, 3))
    figure = plots.std(make_tree({f"b{i}": make_site(values, order=i) for i in range(54)}, [0], 5))
    figure.draw_without_rendering()
    renderer = figure._get_renderer()
    boxes = [label.get_window_extent(renderer) for label in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(boxes))


def test_the_epoch_and_the_wrong_kind(capture, make_tree, make_site):
    assert plots.std(capture, epoch=2).drawn["epoch"] == 2
    spatial = make_tree({"sp": make_site(np.ones((1, 2, 3, 3)), "height", "width", kind="spatial")}, [0], 2)
    with pytest.raises(NothingToDrawError):
        plots.std(spatial)


def test_the_error_of_a_constant_is_written_beside_each_site(make_tree, make_site):
    """At the chosen epoch. Of v = 0.5 ± 0.1 in four images, √(4 / 3) · 0.1 / √(0.25 + 0.01) = 22.6 %."""
    moving, still = np.tile([[0.4, 0.4], [0.6, 0.6]], (1, 2, 1)), np.full((1, 4, 2), 0.3)
    noise = make_site(np.random.default_rng(0).random((2, 4, 3)), order=1)
    capture = make_tree({"a.se": make_site(np.concatenate([moving, still])), "b.se": noise}, [1, 5], 4)
    for epoch, start in ((1, "22.6 ["), (5, "0.0 [")):
        texts = [text.get_text() for text in plots.std(capture, epoch=epoch).axes[1].texts]
        heading = texts.index("constant error %")
        assert texts[heading + 1].startswith(start)
