import numpy as np
import pandas as pd
import pytest

from stripe.analysis import metrics, verdicts


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
        "Nearly constant: its mean over images is 1.7% off (RMS); 100% of the variance lies between channels."
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
        ([0.0, 1e-5], "Constant: saturated at 0, for every image."),
        ([1.0, 0.9999], "Constant: saturated at 1, for every image."),
        ([0.2, 0.7], "Constant: none of its channels differs between images."),
        ([0.0, 1.0], "Constant: none of its channels differs between images."),
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
