import numpy as np
import pandas as pd
import pytest

from stripe.analysis import evidence, metrics, verdicts
from stripe.errors import StripeError


@pytest.fixture
def judge(make_site, make_capture):
    """The verdict on one site."""

    def judge(attention, **options) -> pd.Series:
        table = verdicts(metrics(make_capture({"se": make_site(np.asarray(attention, np.float32), **options)})))
        assert len(table) == 1
        return table.iloc[0]

    return judge


def noisy(rng, level, noise, images=50):
    """(1, images, channels): the levels, each image off by noise."""
    return np.asarray(level) + noise * rng.choice([-1.0, 1.0], (1, images, len(level)))


def test_nearly_constant(judge, rng):
    verdict = judge(noisy(rng, [0.2, 0.8], 0.01))
    assert verdict["category"] == "nearly constant"
    assert verdict["constant_error"] == pytest.approx(0.01 / np.sqrt(0.34), rel=0.05)
    assert verdict["verdict"] == (
        "Nearly constant (no control was recorded): its mean over images is 1.7% off (RMS); 99.9% of the variance lies "
        "between channels."
    )


def test_striped_but_not_constant(judge, rng):
    verdict = judge(noisy(rng, [0.2, 0.8], 0.05))
    assert verdict["category"] == "striped"
    assert verdict["verdict"].startswith("Striped but not constant: 97% of the variance lies between channels, yet")


def test_input_dependent(judge, rng):
    verdict = judge(noisy(rng, [0.4, 0.6], 0.3))
    assert verdict["category"] == "input-dependent"
    assert verdict["verdict"].startswith("Depends on the image: its mean over images is")


def test_channels_that_never_vary_are_mentioned(judge, rng):
    values = noisy(rng, [0.4, 0.6, 0.5, 0.5], 0.3)
    values[..., 2:] = 0.5
    assert "50% of its channels never vary." in judge(values)["verdict"]


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ([0.0, 1e-5], "Constant (no control was recorded): saturated at 0, for every image."),
        ([1.0, 0.9999], "Constant (no control was recorded): saturated at 1, for every image."),
        ([0.2, 0.7], "Constant (no control was recorded): none of its channels differs between images."),
        ([0.0, 1.0], "Constant (no control was recorded): none of its channels differs between images."),
    ],
)
def test_what_never_varies(judge, level, message):
    verdict = judge(np.broadcast_to(level, (1, 9, 2)))
    assert verdict["category"] == "constant"
    assert verdict["verdict"] == message


def test_constant_by_construction(judge, rng):
    verdict = judge(noisy(rng, [0.4, 0.6], 0.0), input_dependent=0)
    assert verdict["category"] == "constant"
    assert verdict["verdict"] == "Constant by construction: it does not depend on the image."


def test_one_image_says_nothing(judge):
    verdict = judge([[[0.2, 0.8]]])
    assert verdict["category"] == "unknown"
    assert "one image" in verdict["verdict"]


def test_values_that_are_not_finite(judge, rng):
    values = noisy(rng, [0.2, 0.8], 0.01)
    values[0, 3, 0] = np.nan
    assert judge(values)["verdict"].endswith("Beware: 1 of its values are NaN or infinite.")
    verdict = judge(values * np.nan)
    assert verdict["category"] == "unknown"
    assert verdict["verdict"] == (
        "Unknown: none of its channels is free of NaN and infinite values. "
        "Beware: 100 of its values are NaN or infinite."
    )


def test_maps(judge, rng):
    maps = rng.random((1, 2, 4, 4))
    maps[:, 1] = 1 - maps[:, 0]
    verdict = judge(maps, kind="spatial")
    assert "lies between positions" in verdict["verdict"]
    assert verdict["verdict"].endswith("The maps of two images correlate by -1.00 on average.")


def test_settling_is_judged_by_95_percent_of_the_values(judge, rng):
    values = np.repeat(noisy(rng, [0.2, 0.8], 0.01), 4, axis=0)
    values[0] += 0.5
    values[3, :2, 0] += 0.5  # two of a hundred move in the end
    verdict = judge(values)
    assert verdict["settled_by"] == 2
    assert verdict["verdict"].endswith("Stays within 0.01 from epoch 2 on.")
    values[3, :20] += 0.5
    verdict = judge(values)
    assert np.isnan(verdict["settled_by"])
    assert verdict["verdict"].endswith("Still moving: 60% of its values stay within 0.01 in the end.")


def test_the_last_epoch_is_judged_and_sites_keep_their_order(rng, make_site, make_capture):
    values = np.concatenate([noisy(rng, [0.4, 0.6], 0.3), noisy(rng, [0.4, 0.6], 0.001)])
    table = metrics(make_capture({"b": make_site(values), "a": make_site(values[::-1], order=1)}, epochs=[3, 8]))
    found = verdicts(table.iloc[::-1].sort_values("order", kind="stable"))
    assert found["site"].tolist() == ["b", "a"]
    assert found["epoch"].tolist() == [8, 8]
    assert found["category"].tolist() == ["nearly constant", "input-dependent"]


def test_a_table_read_from_a_file_has_lost_its_tolerance(rng, make_site, make_capture, tmp_path):
    values = np.repeat(noisy(rng, [0.2, 0.8], 0.01), 2, axis=0)
    metrics(make_capture({"se#2": make_site(values)})).to_csv(tmp_path / "metrics.csv", index=False)
    found = verdicts(pd.read_csv(tmp_path / "metrics.csv"))
    assert found["site"].tolist() == ["se#2"]
    assert found["verdict"][0].endswith("Stays within the tolerance from epoch 1 on.")


@pytest.fixture
def judge_all(make_site, make_capture):
    """The verdict on one site by metrics and evidence, perhaps beside controls given as attention and map."""

    def judge_all(attention, size=None, before=None, controls=None, labels=None) -> pd.Series:
        def measured(values, rms=None):
            return make_capture({"se": make_site(np.asarray(values), before, rms)}, labels=labels)

        capture = measured(attention, size)
        beside = {name: evidence(measured(*given), resamples=200) for name, given in (controls or {}).items()}
        found = verdicts(metrics(capture), evidence(capture, resamples=200), beside or None)
        assert len(found) == 1
        return found.iloc[0]

    return judge_all


def test_the_error_of_the_output_decides_where_it_is_known(judge_all, rng):
    gate = np.full((1, 200, 2), 0.5)
    gate[..., 0] += 0.2 * rng.choice([-1.0, 1.0], (1, 200))
    where_small, where_large = np.ones((1, 200, 2)), np.ones((1, 200, 2))
    where_small[..., 0] = 0.01
    where_large[..., 1] = 0.01
    assert judge_all(gate)["category"] == "input-dependent"
    assert judge_all(gate, where_large)["category"] == "input-dependent"
    found = judge_all(gate, where_small)
    assert found["category"] == "nearly constant"
    # The first channel moves by 0.2 of 0.5, weighed by 1e-4: √(1e-4 · 0.04 / 0.25) = 0.4 %
    assert found["output_error"] == pytest.approx(0.004, rel=0.05)
    assert "its mean over images changes the output by 0.4% (95% interval 0.4–0.4%)" in found["verdict"]
    assert found["constant_error"] > 0.2


def test_numbers_and_intervals_stand_beside_the_verdict(judge_all, rng):
    found = judge_all(noisy(rng, [0.2, 0.8], 0.01))
    for name in ("channel_share", "image_share", "stripe_index", "constant_error", "scalar_error"):
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    assert np.isnan(found["output_error"])
    assert "1.7% off (RMS; 95% interval 1.7–1.8%)" in found["verdict"] or "interval" in found["verdict"]


def test_undecided_where_the_interval_holds_the_threshold(judge_all, rng):
    found = judge_all(0.5 + 0.025 * rng.standard_normal((1, 25, 2)))
    assert found["constant_error_low"] <= 0.05 < found["constant_error_high"]
    assert found["category"] == "undecided"
    assert found["verdict"].startswith("Undecided: its mean over images is")
    assert "5%, up to which it is nearly constant, lies within the interval" in found["verdict"]


def test_undecided_where_the_interval_of_the_index_holds_the_threshold(judge_all, rng):
    found = judge_all(np.array([0.25, 0.75]) + 0.086 * rng.standard_normal((1, 30, 2)))
    assert found["stripe_index_low"] < 0.9 <= found["stripe_index_high"]
    assert found["category"] == "undecided"
    assert "the stripe index may be above or below 0.9" in found["verdict"]


@pytest.mark.parametrize(("images", "category"), [(19, "undecided"), (20, "nearly constant")])
def test_undecided_where_images_are_few(judge_all, rng, images, category):
    found = judge_all(noisy(rng, [0.2, 0.8], 0.001, images))
    assert found["category"] == category
    assert ("19 images are too few to judge by, 20 are needed" in found["verdict"]) == (images < 20)


@pytest.mark.parametrize("size", [np.zeros((1, 30, 2)), np.full((1, 30, 2), 0.3)])
def test_unknown_where_the_input_does_not_vary_either(judge_all, size):
    found = judge_all(np.full((1, 30, 2), 0.5), size, size)
    assert found["category"] == "unknown"
    assert found["verdict"] == ("Unknown: its input does not vary either, as with identical images or a map of zeros.")


def test_unknown_without_evidence_too(make_site, make_capture):
    same = np.full((1, 30, 2), 0.5)
    assert verdicts(metrics(make_capture({"se": make_site(same, same)})))["category"][0] == "unknown"


def test_constant_where_the_input_varies(judge_all, rng):
    found = judge_all(np.full((1, 30, 2), 0.5), rng.random((1, 30, 2)))
    assert found["category"] == "constant"


@pytest.mark.parametrize(
    ("noise", "against", "words"),
    [
        (0.02, "equal", "It is as near to a constant as the same site at initialisation (3."),
        (0.001, "further", "It is further from a constant than the same site at initialisation (0.2% off)."),
        (0.2, "nearer", "It is nearer to a constant than the same site at initialisation (3"),
    ],
)
def test_beside_a_control(judge_all, rng, noise, against, words):
    found = judge_all(noisy(rng, [0.2, 0.8], 0.02), controls={"init": (noisy(rng, [0.2, 0.8], noise),)})
    assert found["against_init"] == against
    assert words in found["verdict"]
    assert "no control" not in found["verdict"]
    assert found["verdict"].startswith(
        "Nearly constant, like its control:" if against == "equal" else "Nearly constant:"
    )


def test_a_control_of_one_image_says_nothing(judge_all, make_site, make_capture, rng):
    capture = make_capture({"se": make_site(noisy(rng, [0.2, 0.8], 0.02))})
    control = evidence(make_capture({"se": make_site([[[0.2, 0.8]]])}), resamples=20)
    found = verdicts(metrics(capture), evidence(capture, resamples=20), {"permuted": control}).iloc[0]
    assert found["against_permuted"] == "unknown"
    assert "with the gate's parameters permuted is not known" in found["verdict"]


@pytest.mark.parametrize("dead", ["site", "control"])
def test_where_nothing_is_known_no_control_is_nearer(judge_all, rng, dead):
    """A gate of a map of zeros never varies, at the site or in the control, and says nothing of a constant."""
    live, zeros = (noisy(rng, [0.2, 0.8], 0.02),), (np.full((1, 50, 2), 0.5), np.zeros((1, 50, 2)))
    found = judge_all(*(zeros if dead == "site" else live), controls={"init": live if dead == "site" else zeros})
    assert (found["category"] == "unknown") == (dead == "site")
    assert found["against_init"] == "unknown"
    assert "How it compares with the same site at initialisation is not known." in found["verdict"]


def test_errors_of_different_kinds_are_not_compared(judge_all, rng):
    gate = noisy(rng, [0.2, 0.8], 0.02)
    size = np.ones(gate.shape) * [1.0, 10.0]  # the output error is smaller than the gate's own
    found = judge_all(gate, size, controls={"init": (gate,)})
    assert found["against_init"] == "equal"


def test_evidence_of_another_epoch_or_other_sites_is_refused(make_site, make_capture, rng):
    capture = make_capture({"se": make_site(np.repeat(noisy(rng, [0.2, 0.8], 0.01), 2, axis=0))})
    with pytest.raises(StripeError, match="evidence is of epoch 1 and the last one of the metrics is 2"):
        verdicts(metrics(capture), evidence(capture, epoch=1, resamples=5))
    other = evidence(make_capture({"eca": make_site(noisy(rng, [0.2, 0.8], 0.01))}), resamples=5)
    with pytest.raises(StripeError, match="The control init has 0 rows of the site se"):
        verdicts(metrics(capture), controls={"init": other})


def test_whether_the_vector_matters_is_said(judge_all, rng):
    found = judge_all(noisy(rng, [0.2, 0.8], 0.001))
    # One number, 0.5, is 0.3 off a size of √0.34.
    assert found["scalar_error"] == pytest.approx(0.3 / np.sqrt(0.34), rel=1e-3)
    assert "One number in the place of its vector would be 51.4% off." in found["verdict"]


def test_what_the_class_explains_is_said(judge_all, rng):
    labels = np.arange(60) % 2
    gate = np.array([[0.2, 0.8], [0.8, 0.2]])[labels] + 0.01 * rng.standard_normal((1, 60, 2))
    found = judge_all(gate, labels=labels)
    assert found["category"] == "input-dependent"
    assert "The class explains 99.9% of what differs between images (95% interval 99." in found["verdict"]
