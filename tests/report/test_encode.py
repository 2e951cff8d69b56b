import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stripe.report.encode import encode
from tests.report.conftest import decode


def test_codes_by_hand():
    encoded = encode([[0.0, 0.5, 1.0], [2.0, 2.0, 4.0]], bits=8)
    assert encoded["shape"] == [2, 3]
    assert (encoded["low"], encoded["high"]) == ([0.0, 2.0], [1.0, 4.0])
    assert np.frombuffer(__import__("base64").b64decode(encoded["codes"]), np.uint8).tolist() == [
        0,
        127,
        254,
        0,
        0,
        254,
    ]


def test_sixteen_bits_are_little_endian():
    assert encode([[0.0, 1.0]])["codes"] == "AAD+/w=="  # 0x0000, 0xfffe


def test_what_is_no_number_is_missing():
    values = decode(encode([[np.nan, 1.0, np.inf, 3.0, -np.inf]]))
    np.testing.assert_array_equal(values, [[np.nan, 1.0, np.nan, 3.0, np.nan]])


def test_nothing_but_nan_and_nothing_that_varies():
    encoded = encode([[np.nan, np.nan], [0.25, 0.25]], bits=8)
    np.testing.assert_array_equal(decode(encoded), [[np.nan, np.nan], [0.25, 0.25]])
    assert np.isfinite([*encoded["low"], *encoded["high"]]).all()  # JSON knows no NaN


@given(
    arrays(np.float32, (3, 2, 4), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from([8, 16]),
)
def test_a_value_is_off_by_at_most_half_a_step(values, bits):
    span = np.ptp(values.astype(np.float64), axis=(1, 2), keepdims=True)
    error = np.abs(decode(encode(values, bits)) - values)
    assert (error <= span / (2 ** (bits + 1) - 4) * (1 + 1e-6) + 1e-9).all()
