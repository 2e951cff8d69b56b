import importlib
import runpy
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import stripe.reproduce.recipe
from stripe import plots
from stripe.capture import as_capture
from stripe.cli import main
from stripe.errors import StripeError
from stripe.plots import kinds
from stripe.reproduce.findings import findings_of

KIND = """
from stripe.capture import as_capture
from stripe.plots.figure import StripeFigure
from stripe.plots.kinds import kind
from stripe.plots.style import styled


@kind("capture", "how many epochs there are", paper="nowhere")
def epochs(capture, *, epoch=None, style="paper"):
    with styled(style) as settings:
        figure = StripeFigure(settings, 2, 1, {"kind": "epochs", "held": as_capture(capture).epochs.tolist()})
        figure.subplots()
        return figure
"""
RECIPE = """
title = "Epochs"
source = "nowhere"
claim = "there are some"
run = {model = "resnet20"}
draw = {kind = "epochs", epoch = 3}
"""


@pytest.fixture
def another_kind(tmp_path, monkeypatch):
    """One more file beside those of the kinds, and nothing else."""
    (tmp_path / "epochs.py").write_text(KIND)
    with monkeypatch.context() as patch:
        patch.setattr(plots, "__path__", [*plots.__path__, str(tmp_path)])
        patch.setattr(kinds.KNOWN, "_known", dict(kinds.KNOWN._known))
        importlib.invalidate_caches()
        kinds.find()
        yield
    del sys.modules["stripe.plots.epochs"], plots.epochs
    kinds.find()


def test_every_kind_is_named_by_its_function():
    assert all(getattr(plots, name) is function for name, function in plots.KINDS.items())


def test_a_kind_by_name(capture):
    assert plots.draw("index", capture, sites=None, style="dark").drawn["kind"] == "index"


def test_an_option_that_a_kind_does_not_take(capture):
    with pytest.raises(StripeError, match="'index' has no channels or epoch to choose; it takes sites, style"):
        plots.draw("index", capture, epoch=3, channels=4)
    with pytest.raises(StripeError, match="no plot of kind 'pie'"):
        plots.draw("pie", capture)


def test_all_kinds_that_a_capture_can_show(cbam, tmp_path):
    drawn, left_out = plots.draw_all(cbam, tmp_path, images=3, channels=4, style="notebook", sites="layer1.*")
    assert [*drawn, *left_out] == list(plots.KINDS)
    assert list(left_out) == ["maps", "gradcam"]  # it has no maps before attention
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"capture-{kind}.png" for kind in drawn)


def test_kinds_that_it_cannot_show_are_left_out_with_the_reason(make_tree, make_site, tmp_path):
    tree = make_tree({"se": make_site(np.random.default_rng(0).random((1, 4, 2)))}, [0], 4)
    drawn, left_out = plots.draw_all(tree, tmp_path, extension="svg")
    assert list(drawn) == ["stripe", "std", "index"]
    assert "needs two epochs" in left_out["diff"]
    assert "no spatial attention site" in left_out["spatial"]


def test_a_capture_that_can_show_nothing(make_tree, make_site, tmp_path):
    tree = make_tree({"gate": make_site(np.zeros((1, 4, 1)), kind="sample")}, [0], 4)
    with pytest.raises(StripeError, match="stripe: There is no channel"):
        plots.draw_all(tree, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"site": "nowhere"}, {"epoch": 99}, {"style": "no such"}, {"extension": "gif"}])
def test_mistakes_are_no_reason_to_leave_out(capture, tmp_path, options):
    with pytest.raises(StripeError):
        plots.draw_all(capture, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_one_file_makes_a_kind_of_plot(another_kind, capture, tmp_path):
    assert list(plots.KINDS)[-1] == "epochs"
    assert plots.draw("epochs", capture).drawn["held"] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(StripeError, match="'epochs' has no images to choose; it takes epoch, style"):
        plots.draw("epochs", capture, images=3)
    drawn, _ = plots.draw_all(capture, tmp_path / "all", images=2, channels=2)
    assert drawn["epochs"].exists()
    shown = CliRunner().invoke(main, ["plot", "--help"]).output
    assert "how many epochs there are" in shown
    assert "|epochs|" in shown.replace("\n", "").replace(" ", "")
    (tmp_path / "fig99.toml").write_text(RECIPE)
    fresh = runpy.run_path(stripe.reproduce.recipe.__file__)  # as it is read when a program starts
    assert fresh["read"](tmp_path / "fig99.toml").draw.options == {"epoch": 3}
    table, sentence = findings_of("epochs", capture)
    assert list(table["site"]) == list(as_capture(capture).sites)
    assert sentence.startswith("Of 9 sites: ")


def test_the_first_releases_keyword_for_sites_is_still_accepted(cbam, tmp_path):
    wanted = ["layer1.*"]
    by_former, by_present = (plots.index(cbam, **{name: wanted}).drawn for name in ("site", "sites"))
    assert by_former["sites"] == by_present["sites"] == plots.draw("index", cbam, site=wanted).drawn["sites"]
    assert 0 < len(by_former["sites"]) < len(plots.index(cbam).drawn["sites"])
