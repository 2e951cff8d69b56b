import dask.array as da
import numpy as np
import pytest
import xarray as xr

from stripe.analysis import constant_error, output_error, stripes_carry
from stripe.errors import StripeError


def table(values) -> xr.DataArray:
    return xr.DataArray(np.asarray(values, float), dims=("image", "channel"))


GATE = table([[1.0, 4.0], [3.0, 4.0]])  # means 2 and 4


def test_constant_error_by_hand():
    # Squares: of the distance from the means 2, of the gate 1 + 9 + 16 + 16 = 42; two images: twice the variance.
    assert float(constant_error(GATE)) == pytest.approx(np.sqrt(2 * 2 / 42))


def test_output_error_weighs_by_the_map():
    size = table([[2.0, 1.0], [1.0, 5.0]])
    # x² v²: 4·1 + 1·16 + 1·9 + 25·16 = 429; x² (v − mean)²: 4·1 + 1·1 = 5
    assert float(output_error(GATE, size)) == pytest.approx(np.sqrt(2 * 5 / 429))
    # x + x·v: x² (1 + v)² = 4·4 + 25 + 16 + 25·25 = 682
    assert float(output_error(GATE, size, residual=True)) == pytest.approx(np.sqrt(2 * 5 / 682))


def test_output_error_is_that_of_the_outputs(rng):
    """Norms of x ⊙ (v − mean) and x ⊙ v, of the maps themselves."""
    maps, gate = rng.standard_normal((6, 3, 4, 5)), rng.random((6, 3))
    mean = gate.mean(axis=0)
    moved = np.linalg.norm(maps * (gate - mean)[:, :, None, None]) / np.linalg.norm(maps * gate[:, :, None, None])
    found = output_error(table(gate), table(np.sqrt((maps**2).mean(axis=(2, 3)))))
    assert float(found) == pytest.approx(moved * np.sqrt(6 / 5))


def test_output_error_of_a_spatial_gate_is_that_of_the_outputs(rng):
    maps, gate = rng.standard_normal((6, 3, 4, 5)), rng.random((6, 4, 5))
    moved = np.linalg.norm(maps * (gate - gate.mean(axis=0))[:, None]) / np.linalg.norm(maps * gate[:, None])
    dims = ("image", "height", "width")
    size = xr.DataArray(np.sqrt((maps**2).mean(axis=1)), dims=dims)
    assert float(output_error(xr.DataArray(gate, dims=dims), size)) == pytest.approx(moved * np.sqrt(6 / 5))


def test_one_number_beside_the_vector():
    found = stripes_carry(GATE)
    # The mean of all is 3: squares 4 + 1 + 0 + 1 = 6 of 42.
    assert float(found["scalar"]) == pytest.approx(np.sqrt(6 / 42))
    assert float(found["vector"]) == pytest.approx(np.sqrt(4 / 42))
    weighed = stripes_carry(GATE, table([[2.0, 1.0], [1.0, 5.0]]))
    assert float(weighed["scalar"]) == pytest.approx(np.sqrt((4 * 4 + 1 + 0 + 25) / 429))
    assert float(weighed["vector"]) == pytest.approx(np.sqrt(10 / 429))


def test_stripes_that_carry_nothing():
    found = stripes_carry(table([[0.2, 0.2], [0.4, 0.4]]))
    assert float(found["scalar"]) < float(found["vector"])  # which pays for estimating two numbers instead of one


def test_the_error_of_few_images_is_that_of_many(rng):
    values = 1 + 0.1 * rng.standard_normal((20000, 3, 1))
    found = constant_error(xr.DataArray(values, dims=("epoch", "image", "channel")))
    assert float(np.sqrt((found**2).mean())) == pytest.approx(0.1 / np.sqrt(1.01), rel=0.02)


@pytest.mark.filterwarnings("error")
def test_undefined():
    assert float(constant_error(table(np.zeros((3, 2))))) == 0
    assert np.isnan(output_error(GATE, GATE * 0))
    for one in (constant_error(GATE[:1]), output_error(GATE[:1], GATE[:1]), constant_error(GATE * np.nan)):
        assert np.isnan(one)
    with pytest.raises(StripeError, match="'image'"):
        constant_error(xr.DataArray([1.0], dims="channel"))


def test_stays_lazy(rng):
    values = xr.DataArray(rng.random((3, 8, 5)), dims=("epoch", "image", "channel"))
    chunked = values.chunk(image=3)
    found = output_error(chunked, chunked)
    assert isinstance(found.data, da.Array)
    np.testing.assert_allclose(found, output_error(values, values))
