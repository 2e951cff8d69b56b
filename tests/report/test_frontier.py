import pandas as pd
import pytest

from stripe import report
from stripe.errors import StripeError
from tests.report.conftest import HOSTILE, MADE_BY, contents


@pytest.fixture
def frontier() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sites": [0, 1, 2],
            "site": [None, "a", HOSTILE],
            "accuracy": [60.0, 59.5, 58.25],
            "uncertainty": [0.0, 0.25, 0.5],
            "error": [0.0, 0.1, 0.25],
            "relative_speed": [1.0, 1.1, 1.25],
        }
    )


def test_points_and_a_sentence(small, frontier) -> None:
    html = report.page(small, frontier=frontier, made_by=MADE_BY)
    assert contents(html)["frontier"] == {
        "sites": [0, 1, 2],
        "site": ["", "a", HOSTILE],
        "accuracy": [60.0, 59.5, 58.25],
        "uncertainty": [0.0, 0.25, 0.5],
        "error": [0.0, 0.1, 0.25],
        "relative_speed": [1.0, 1.1, 1.25],
    }
    assert "With attention 60.00 %; with 2 sites folded, which is all that can be, " in html
    assert "58.25 % (the difference ± 0.50) at 1.25 × the speed" in html
    assert HOSTILE not in html


def test_no_frontier_no_section(small) -> None:
    assert 'id="folding"' not in report.page(small, made_by=MADE_BY)


def test_another_table_and_one_without_accuracies(small, frontier) -> None:
    with pytest.raises(StripeError, match="lacks uncertainty, error, relative_speed"):
        report.page(small, frontier=frontier[["sites", "site", "accuracy"]])
    with pytest.raises(StripeError, match="had no labels"):
        report.page(small, frontier=frontier.assign(accuracy=float("nan")))
