import math

import pytest

from stripe.analysis.wording import percent, percent_interval


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
