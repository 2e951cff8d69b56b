import subprocess
import sys

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from stripe.errors import StripeError
from stripe.plots.figure import StripeFigure
from stripe.plots.style import inches, parameters, styled


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
