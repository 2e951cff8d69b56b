import math

import pytest

from stripe.analysis.wording import index_text, interval_text, percent, percent_interval, share_text


@pytest.mark.parametrize(
    ("share", "decimals", "text"),
    [
        (0.974, 0, "97%"),
        (0.996, 0, "99.6%"),
        (0.9997, 0, "> 99.9%"),
        (0.9997, 1, "> 99.9%"),
        (1.0, 0, "100%"),
        (1 - 1e-12, 1, "100.0%"),
        (0.0, 0, "0%"),
        (0.004, 0, "0.4%"),
        (0.0001, 1, "< 0.1%"),
        (1.2, 0, "120%"),
        (math.nan, 1, "undefined"),
    ],
)
def test_neither_0_nor_100_unless_it_is_that(share, decimals, text):
    assert percent(share, decimals) == text


def test_intervals():
    assert percent_interval(0.0101, 0.0153) == "1.0–1.5%"
    assert percent_interval(0.99, 0.9999) == "99.0–> 99.9%"


def test_cells_of_a_table():
    row = {"output_error": 0.0123, "output_error_low": 0.01, "output_error_high": 0.0149}
    assert interval_text(row, "output_error") == "1.2 [1.0, 1.5]"
    assert interval_text({"output_error": math.nan}, "output_error") == "–"
    shares = {"channel_share": 0.9997, "image_share": 0.0003, "interaction_share": 0.0}
    assert share_text(shares) == ">99.9/<0.1/0"
    assert share_text(shares | {"image_share": math.nan}) == "–"
    assert [index_text(index) for index in (0.25, 0.9996, 1.0, math.nan)] == ["0.250", ">0.999", "1.000", "–"]
