"""Controls of a search, by hand."""

from pathlib import Path

import pandas as pd
import pytest

from stripe.analysis import search_controls
from stripe.analysis.wording import difference_text
from stripe.errors import StripeError

ROWS = [  # seed, choice, name, attention, last, best
    (0, "found by the search", "found", "cbam:ca/none", 50.0, 51.0),
    (0, "at random", "random-1", "cbam:sa/none", 46.0, 46.0),
    (0, "at random", "random-2", "none/cbam:ca", 50.0, 50.0),
    (0, "CA in all blocks", "all-ca", "cbam:ca/cbam:ca", 53.0, 54.0),
    (1, "found by the search", "found", "none", 40.0, 42.0),
    (1, "at random", "random-1", "cbam:sa/cbam:sa", 42.0, 43.0),
    (1, "at random", "random-2", "cbam:sa/cbam:ca", 42.0, 43.0),
    (1, "CA in all blocks", "all-ca", "cbam:ca/cbam:ca", 41.0, 41.0),
]
TABLE = pd.DataFrame(ROWS, columns=["seed", "choice", "name", "attention", "last", "best"])


def test_differences_are_paired_by_seed() -> None:
    found, random, same = search_controls.compared(TABLE).itertuples(index=False)
    assert (found.choice, found.last, found.best) == ("found by the search", 45, 46.5)
    assert pd.isna([found.difference, found.low, found.high]).all()
    # −2 and 2, whose standard error is 2; t(1, 97.5 %) is 12.7062.
    assert (random.choice, random.last, random.difference) == ("at random", 45, 0)
    assert (random.low, random.high) == pytest.approx((-2 * 12.7062, 2 * 12.7062), abs=1e-3)
    # 3 and 1, whose standard error is 1
    assert (same.last, same.best, same.difference) == (47, 47.5, 2)
    assert (same.low, same.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)


def test_a_single_seed_has_no_interval() -> None:
    _, random, _ = search_controls.compared(TABLE[TABLE["seed"] == 0]).itertuples(index=False)
    assert random.difference == -2
    assert pd.isna([random.low, random.high]).all()
    assert difference_text(random.difference, random.low, random.high) == "−2.00"


def test_the_table_of_the_folder_or_of_the_one_around_seeds(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / search_controls.FILE, index=False)
    one, two = tmp_path / "seed-0", tmp_path / "seed-1"
    pd.testing.assert_frame_equal(search_controls.read({one: 0, two: 1}), TABLE)  # "none" is a text
    assert search_controls.read({two: 1})["seed"].unique().tolist() == [1]
    assert search_controls.read({tmp_path: 1})["seed"].unique().tolist() == [1]
    assert search_controls.read({tmp_path / "other": 0}) is None
    assert search_controls.read({tmp_path / "seed-2": 2}) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: table.drop(columns="last"),
        lambda table: table.iloc[1:],
        lambda table: pd.concat([table, table.iloc[:1]]),
        lambda table: table.assign(last="much"),
        lambda table: table.assign(best=float("nan")),
    ],
)
def test_a_damaged_table(tmp_path: Path, damage) -> None:
    damage(TABLE).to_csv(tmp_path / search_controls.FILE, index=False)
    with pytest.raises(StripeError, match=r"controls\.csv cannot be read"):
        search_controls.read({tmp_path: 0})
