import numpy as np
import pytest
import xarray as xr

from stripe import analysis
from stripe.errors import StripeError

VALUES = np.random.default_rng(0).random((6, 5)).astype(np.float32)
NAMED = xr.DataArray(VALUES, dims=("image", "channel"))
FUNCTIONS = [
    *(analysis.channel_std, analysis.stripe_index, analysis.constant_error),
    *(lambda v: analysis.variance_shares(v)["channel"], lambda v: analysis.variance_components(v)["image"]),
    *(lambda v: analysis.output_error(v, v), lambda v: analysis.stripes_carry(v, v)["scalar"]),
    lambda v: analysis.class_share(v, np.array([0, 0, 0, 1, 1, 1])),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("kind", ["numpy", "torch", "gate of a convolution"])
def test_arrays_without_names_have_images_first(function, kind) -> None:
    values = VALUES
    if kind != "numpy":
        torch = pytest.importorskip("torch")
        values = torch.from_numpy(VALUES).requires_grad_()
    if kind.startswith("gate"):
        values = values[..., None, None]  # (image, channel, 1, 1), as a hook finds it
    np.testing.assert_allclose(function(values).values.squeeze(), function(NAMED).values)


def test_epochs_come_before_images() -> None:
    named = xr.DataArray(VALUES, dims=("epoch", "image"))
    np.testing.assert_array_equal(analysis.epoch_diff(VALUES), analysis.epoch_diff(named))
    np.testing.assert_array_equal(analysis.settled_fraction(VALUES), analysis.settled_fraction(named))
    assert float(analysis.settling_epoch(np.array([0.5, 0.1, 0.1, 0.1]))) == 1


def test_maps() -> None:
    maps = np.random.default_rng(0).random((4, 3, 3))
    named = xr.DataArray(maps, dims=("image", "height", "width"))
    for function in (analysis.spatial_std, analysis.map_correlation):
        np.testing.assert_array_equal(function(maps), function(named))
    tokens = xr.DataArray(VALUES, dims=("image", "token"))
    np.testing.assert_array_equal(analysis.map_correlation(VALUES), analysis.map_correlation(tokens))


def test_half_precision_of_torch() -> None:
    torch = pytest.importorskip("torch")
    half = torch.tensor([[0.5, 1.0], [0.25, 1.0]], dtype=torch.bfloat16)
    assert analysis.channel_std(half).values.tolist() == [0.125, 0.0]


@pytest.mark.parametrize(("values", "message"), [(np.zeros((2,) * 5), "5 axes"), (np.array(["a"]), "array of numbers")])
def test_what_cannot_be_named(values, message) -> None:
    with pytest.raises(StripeError, match=message):
        analysis.channel_std(values)
