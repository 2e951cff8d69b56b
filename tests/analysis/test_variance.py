import dask.array as da
import numpy as np
import pytest
import xarray as xr

from stripe.analysis import class_share, stripe_index, variance_components, variance_shares
from stripe.errors import StripeError


def table(values) -> xr.DataArray:
    return xr.DataArray(np.asarray(values, float), dims=("image", "channel"))


# A textbook table of 3 images × 4 channels. Means of images 3, 5, 7, of channels 2, 4, 6, 8, grand mean 5. Residuals
# (1, −1, 0, 0), (−1, 1, 0, 0), 0: their squares sum up to 4.
BY_HAND = [[1.0, 1.0, 4.0, 6.0], [1.0, 5.0, 6.0, 8.0], [4.0, 6.0, 8.0, 10.0]]


def test_components_by_hand():
    found = variance_components(table(BY_HAND))
    # MS of the interaction 4 / 6; of channels 3 · 20 / 3 = 20; of images 4 · 8 / 2 = 16.
    assert float(found["interaction"]) == pytest.approx(4 / 6)
    assert float(found["channel"]) == pytest.approx((20 - 4 / 6) / 3)
    assert float(found["image"]) == pytest.approx((16 - 4 / 6) / 4)


def test_shares_by_hand():
    found = variance_shares(table(BY_HAND))
    parts = {"interaction": 4 / 6, "channel": 58 / 9, "image": 46 / 12}
    for name, part in parts.items():
        assert float(found[name]) == pytest.approx(part / sum(parts.values()))
    assert int(found["clipped"]) == 0


def test_components_are_those_of_least_squares(rng):
    """The mean squares, from the residuals of nested linear models with indicator columns."""
    images, channels = 7, 5
    values = rng.random((images, channels)) + rng.random(channels) + rng.random((images, 1))
    row, column = np.repeat(np.arange(images), channels), np.tile(np.arange(channels), images)

    def residual(*factors) -> float:
        design = np.concatenate([np.ones((row.size, 1)), *(np.eye(f.max() + 1)[f] for f in factors)], axis=1)
        fitted = design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
        return float(((values.ravel() - fitted) ** 2).sum())

    both = residual(row, column)
    of_rest = both / ((images - 1) * (channels - 1))
    of_channels, of_images = (residual(row) - both) / (channels - 1), (residual(column) - both) / (images - 1)
    found = variance_components(table(values))
    assert float(found["interaction"]) == pytest.approx(of_rest)
    assert float(found["channel"]) == pytest.approx((of_channels - of_rest) / images)
    assert float(found["image"]) == pytest.approx((of_images - of_rest) / channels)


def test_components_are_unbiased(rng):
    """Means over many samples: of the model of random effects, variances 4, 1 and 9."""
    values = (
        2 * rng.standard_normal((4000, 1, 6))
        + rng.standard_normal((4000, 5, 1))
        + 3 * rng.standard_normal((4000, 5, 6))
    )
    found = variance_components(xr.DataArray(values, dims=("epoch", "image", "channel"))).mean("epoch")
    assert float(found["channel"]) == pytest.approx(4, abs=0.2)
    assert float(found["image"]) == pytest.approx(1, abs=0.1)
    assert float(found["interaction"]) == pytest.approx(9, abs=0.2)


def test_noise_has_no_channel_share_where_its_stripe_index_is_one_over_n(rng):
    noise = xr.DataArray(rng.standard_normal((500, 10, 200)), dims=("epoch", "image", "channel"))
    assert float(stripe_index(noise).mean()) == pytest.approx(0.1, abs=0.002)
    assert float(variance_components(noise)["channel"].mean()) == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize(
    ("values", "channel", "image"),
    [([[0.2, 0.8], [0.2, 0.8]], 1, 0), ([[0.2, 0.2], [0.8, 0.8]], 0, 1), ([[0.0, 1.0], [1.0, 0.0]], 0, 0)],
)
def test_what_varies_one_way_only(values, channel, image):
    found = variance_shares(table(values))
    assert float(found["channel"]) == pytest.approx(channel)
    assert float(found["image"]) == pytest.approx(image)
    assert float(found["interaction"]) == pytest.approx(1 - channel - image)


def test_negative_components_are_taken_as_0_and_counted():
    crossed = table([[0.0, 1.0], [1.0, 0.0]])
    assert float(variance_components(crossed)["channel"]) == -0.5
    found = variance_shares(crossed)
    assert (float(found["channel"]), float(found["interaction"]), int(found["clipped"])) == (0, 1, 2)


@pytest.mark.parametrize("values", [[[0.2, 0.8]], [[0.2], [0.8]], [[0.5, 0.5], [0.5, 0.5]], [[0.1, np.inf], [0, 1]]])
@pytest.mark.filterwarnings("error")
def test_undefined_shares_are_nan(values):
    assert np.isnan(float(variance_shares(table(values))["channel"]))


def test_stays_lazy_and_takes_any_kind_of_site(rng):
    values = xr.DataArray(rng.random((3, 8, 2, 5)), dims=("epoch", "image", "branch", "channel"))
    found = variance_shares(values.chunk(image=2))
    assert isinstance(found["channel"].data, da.Array)
    assert found["image"].dims == ("epoch",)
    flat = xr.DataArray(values.values.reshape(3, 8, 10), dims=("epoch", "image", "channel"))
    xr.testing.assert_allclose(found.compute(), variance_shares(flat))


def test_class_share_by_hand():
    # Two classes of two images: class means 1 and 5 in the first channel, 2 in the second; within-class squares 2 + 2,
    # about the grand means 16 more.
    attention = table([[0.0, 2.0], [2.0, 2.0], [5.0, 1.0], [5.0, 3.0]])
    labels = xr.DataArray([3, 3, 8, 8], dims="image")
    assert float(class_share(attention, labels)) == pytest.approx(1 - (4 / 2) / (20 / 3))


def test_class_share_of_classes_that_mean_nothing_is_0_on_average(rng):
    noise = xr.DataArray(rng.standard_normal((300, 20, 50)), dims=("epoch", "image", "channel"))
    labels = xr.DataArray(np.repeat(np.arange(10), 2), dims="image")  # plain R² would be 9 / 19
    assert float(class_share(noise, labels).mean()) < 0.03  # what is below 0 is set to 0


@pytest.mark.parametrize("labels", [[0, 0, -1, 1], [2, 2, 2, 2], [0, 1, 2, 3]])
def test_class_share_without_classes_is_nan(labels, rng):
    assert np.isnan(float(class_share(table(rng.random((4, 3))), xr.DataArray(labels, dims="image"))))


def test_images_are_needed():
    with pytest.raises(StripeError, match="'image'"):
        variance_shares(xr.DataArray(np.zeros(3), dims="channel"))
