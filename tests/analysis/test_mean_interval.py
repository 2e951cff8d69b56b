import math

import pytest
from scipy import stats

from stripe.analysis import mean_interval
from stripe.errors import StripeError


def test_three_values_by_hand() -> None:
    found = mean_interval([74.0, 75.0, 76.0])
    assert (found.mean, found.number) == (75.0, 3)
    assert found.half == pytest.approx(4.302653 / math.sqrt(3))  # t of two degrees of freedom; s = 1
    assert (found.low, found.high) == (75.0 - found.half, 75.0 + found.half)


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("values", [[1.0, 2.5], [0.3, -4.0, 2.0, 8.5, 8.5]])
def test_as_scipy_says(values: list[float], level: float) -> None:
    found = mean_interval(iter(values), level=level)
    expected = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_few_values_have_no_interval() -> None:
    one, none = mean_interval([3.0]), mean_interval([])
    assert (one.mean, one.number) == (3.0, 1)
    assert (math.isnan(one.low), math.isnan(one.high)) == (True, True)
    assert (math.isnan(none.mean), math.isnan(none.half)) == (True, True)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_is_a_share(level: float) -> None:
    with pytest.raises(StripeError, match="level= must lie between 0 and 1"):
        mean_interval([1.0, 2.0], level=level)
