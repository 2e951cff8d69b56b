import numpy as np
import pytest

from stripe import plots
from stripe.errors import StripeError


def test_every_kind_is_named_by_its_function():
    assert all(getattr(plots, name) is function for name, function in plots.KINDS.items())


def test_a_kind_by_name(capture):
    assert plots.draw("index", capture, site=None, style="dark").drawn["kind"] == "index"


def test_an_option_that_a_kind_does_not_take(capture):
    with pytest.raises(StripeError, match="'index' has no channels or epoch to choose; it takes site, style"):
        plots.draw("index", capture, epoch=3, channels=4)
    with pytest.raises(StripeError, match="no plot of kind 'pie'"):
        plots.draw("pie", capture)


def test_all_kinds_that_a_capture_can_show(cbam, tmp_path):
    drawn, left_out = plots.draw_all(cbam, tmp_path, images=3, channels=4, style="notebook", site="layer1.*")
    assert [*drawn, *left_out] == list(plots.KINDS)
    assert list(left_out) == ["gradcam"]
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
