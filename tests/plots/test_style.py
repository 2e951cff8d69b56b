import subprocess
import sys

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from stripe.errors import StripeError
from stripe.plots.figure import StripeFigure, wrapped
from stripe.plots.style import inches, is_narrow, parameters, printed_width, styled


def test_settings_are_as_before_afterwards():
    def settings():
        return {key: value for key, value in mpl.rcParams.copy().items() if key != "backend"}

    before = settings()
    with styled("dark"):
        assert mpl.rcParams["figure.facecolor"] == "#121212"
    assert settings() == before


def test_any_style_of_matplotlib_and_any_file(tmp_path):
    assert parameters("ggplot")["axes.facecolor"] == "#E5E5E5"
    file = tmp_path / "mine.mplstyle"
    file.write_text("font.size: 13\n")
    assert parameters(str(file))["font.size"] == 13


def test_an_unknown_style_is_answered_with_close_names():
    with pytest.raises(StripeError, match=r"no style 'papr'\. Did you mean paper"):
        parameters("papr")


def test_sizes_follow_the_text():
    with styled("paper"):
        assert inches(6.9, 2) == (6.9, 2)
    with styled("notebook"):
        assert inches(8, 4) == (10, 5)


def test_a_figure_draws_in_its_own_style_whatever_holds_then():
    with styled("notebook") as settings:
        figure = StripeFigure(settings, 3, 2, {})
        axes = figure.subplots()
    figure.draw_without_rendering()
    # Ticks are made when drawn: 10 pt × "small"
    assert axes.get_xticklabels()[0].get_fontsize() == pytest.approx(8.33)
    assert Figure().subplots().get_xticklabels()[0].get_fontsize() == 10


def test_jupyter_shows_a_figure():
    with styled("paper") as settings:
        figure = StripeFigure(settings, 1, 1, {})
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_jupyter_finds_the_picture():
    formatters = pytest.importorskip("IPython.core.formatters")
    with styled("paper") as settings:
        figure = StripeFigure(settings, 1, 1, {})
    data, _ = formatters.DisplayFormatter().format(figure, include={"image/png"})
    assert "image/png" in data


def test_importing_the_plots_starts_no_pyplot_and_no_torch():
    code = "import sys, stripe.plots; sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_settings_of_the_user_count_unless_the_style_says_otherwise():
    with mpl.rc_context({"font.family": ["serif"], "font.size": 12}):
        assert parameters("paper")["font.family"] == ["serif"]
        assert parameters("paper")["font.size"] == 12
        assert parameters("notebook")["font.size"] == 10
    assert parameters("paper")["font.size"] == 8


@pytest.mark.parametrize(("width", "inch"), [("column", 3.3), ("page", 7.0), (5, 5.0), (None, None)])
def test_widths(width, inch):
    assert printed_width(width) == inch
    with styled("paper"):
        assert is_narrow(width) == (width == "column")


@pytest.mark.parametrize("width", ["wide", 0.2, 1000, float("nan")])
def test_widths_that_are_none(width):
    with pytest.raises(StripeError, match="'column', 'page' or a number"):
        printed_width(width)


def test_an_unknown_colour_map():
    with pytest.raises(StripeError, match="no colour map 'virdis'; did you mean viridis"), styled("paper", "virdis"):
        pass


def test_captions_fit_whatever_their_letters():
    with styled("paper") as settings:
        figure = StripeFigure(settings, 3.3, 1, {})
        figure.caption("MWMW WWWWW " * 12 + "a_path_without_blanks" * 10)
    figure.draw_without_rendering()
    box = figure._supxlabel.get_window_extent()
    assert box.x1 <= figure.bbox.x1
    assert wrapped("a b", 1000, 6) == "a b"
