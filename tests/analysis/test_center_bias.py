import numpy as np
import pytest
import xarray as xr

from stripe.analysis import center_bias
from stripe.errors import StripeError


def per_image(mass, moment) -> xr.Dataset:
    return xr.Dataset({"mass": ("image", np.asarray(mass, float)), "moment": ("image", np.asarray(moment, float))})


def test_images_count_by_their_mass() -> None:
    """(.1 + .6) / (.2 + .6), not the mean of .5 and 1."""
    assert center_bias(per_image([0.2, 0.6], [0.1, 0.6])).value == pytest.approx(0.875)


def test_an_image_of_zeros_changes_nothing() -> None:
    few, more = per_image([0.2, 0.6], [0.1, 0.6]), per_image([0.2, 0.0, 0.6], [0.1, 0.0, 0.6])
    assert center_bias(more) == center_bias(few)
    assert center_bias(more).images == 2


def test_interval_is_that_of_a_mean() -> None:
    """With equal masses the bias is a mean, whose standard error is known."""
    rng = np.random.default_rng(3)
    values = rng.normal(0.8, 0.1, 400)
    found = center_bias(per_image(np.ones(400), values))
    error = 1.96 * values.std() / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + error, abs=0.1 * error)
    narrower = center_bias(per_image(np.ones(400), values), level=0.5)
    assert found.low < narrower.low < narrower.high < found.high


def test_repeatable_and_recorded() -> None:
    images = per_image([1, 2, 3], [1, 1, 1])
    assert center_bias(images, seed=5) == center_bias(images, seed=5)
    assert center_bias(images, seed=5).seed == 5
    assert center_bias(images, resamples=3).resamples == 3


def test_the_same_map_everywhere_has_no_spread() -> None:
    found = center_bias(per_image([0.5, 0.5], [0.4, 0.4]))
    assert found.low == found.high == pytest.approx(0.8)
    assert str(found).startswith("Centre bias 0.800 (95% interval 0.800–0.800")


def test_nothing_to_look_at() -> None:
    found = center_bias(per_image([0, 0], [0, 0]))
    assert np.isnan([found.value, found.low, found.high]).all()
    assert "every map is all zeros" in str(found)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (xr.Dataset({"mean": ("y", [1.0])}), {}, "as `stripe gradcam` writes them"),
        (per_image([], []), {}, "none along the dimension 'image'"),
        (per_image([1], [1]), {"level": 1}, "level must lie between 0 and 1"),
        (per_image([1], [1]), {"resamples": 0}, "drawn at least once"),
    ],
)
def test_mistakes(images, options, message) -> None:
    with pytest.raises(StripeError, match=message):
        center_bias(images, **options)
