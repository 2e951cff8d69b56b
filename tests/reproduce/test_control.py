"""Tables with a control: intervals over seeds, differences paired by seed, and what is said of them."""

from types import SimpleNamespace

import pytest

from stripe.errors import StripeError
from stripe.reproduce import Changes, Plan, read, tables
from stripe.reproduce.findings import differences
from stripe.reproduce.output import _page
from tests.reproduce.conftest import RECIPE

T2, T1 = 4.302653, 12.706205  # Student's t at 97.5 % with two degrees of freedom and with one

COLUMNS = RECIPE.replace('name = "one copy"', 'name = "one copy", control = true')
ROWS = RECIPE.replace('name = "SE"', 'name = "SE", control = true')


def measured(plan, values):
    """The table of a plan whose runs measure given accuracies, by row, column and seed; None is not finished."""
    served, failures = {}, {}
    for cell in plan.cells:
        for request, value in zip(cell.requests, values[cell.row.name, cell.column.name], strict=True):
            epoch = SimpleNamespace(test_accuracy=value)
            scoring = SimpleNamespace(measures=("accuracy",), higher_is_better=True)
            run = SimpleNamespace(best=epoch, history=[epoch], scoring=scoring, scale="2 epochs") if value else None
            name = f"{cell.row.name}-{cell.column.name}-{request.seed}"
            served[request] = SimpleNamespace(
                request=request, run=run, path=SimpleNamespace(name=name), found=SimpleNamespace(attrs={})
            )
            failures |= {name: "no power"} if value is None else {}
    return tables.of_runs(plan, served, failures, None).set_index(["row", "column"]), served


VALUES = {
    ("SE", "one copy"): [70.0, 71.0, 72.0],
    ("SE", "two copies"): [72.0, 72.0, 75.0],  # + 2, 1, 3
    ("IE", "one copy"): [60.0, None, 61.0],
    ("IE", "two copies"): [60.0, 50.0, 59.0],  # 0, -2 where both are
}


def test_a_mean_over_seeds_has_its_interval(write):
    plan = Plan.make(read(write("mine", RECIPE)), "quick", Changes(seeds=3))
    table, _ = measured(plan, VALUES)
    first = table.loc["SE", "one copy"]
    assert (first["best"], first["best_std"], first["seeds"]) == (71.0, 1.0, 3)
    assert (first["best_low"], first["best_high"]) == pytest.approx((71 - T2 / 3**0.5, 71 + T2 / 3**0.5))
    gap = table.loc["IE", "one copy"]
    assert gap["seeds"] == 2
    assert gap["best_high"] - gap["best"] == pytest.approx(T1 * 0.5)  # std of 60 and 61 is 1/√2
    assert "control" not in table


def test_the_best_of_the_seeds_that_are_finished(write):
    """A run that failed before it wrote anything says nothing, nor what is better."""
    text = RECIPE.replace('name = "one copy"', 'name = "one copy", runs = "best"')
    plan = Plan.make(read(write("mine", text)), "quick", Changes(seeds=3))
    table, _ = measured(plan, VALUES | {("SE", "one copy"): [None, 71.0, 72.0]})
    assert table.loc["SE", "one copy"]["best"] == 72.0


def test_columns_are_compared_with_a_column_seed_by_seed(write):
    plan = Plan.make(read(write("mine", COLUMNS)), "quick", Changes(seeds=3))
    table, _ = measured(plan, VALUES)
    assert table["control"].tolist() == ["", "one copy", "", "one copy"]
    found = table.loc["SE", "two copies"]
    assert (found["difference"], found["pairs"]) == (2.0, 3)
    assert (found["difference_low"], found["difference_high"]) == pytest.approx((2 - T2 / 3**0.5, 2 + T2 / 3**0.5))
    other = table.loc["IE", "two copies"]
    assert (other["difference"], other["pairs"]) == (-1.0, 2)
    assert other["difference_high"] == pytest.approx(-1 + T1)  # std of 0 and −2 is √2
    assert differences(table.reset_index()) == (
        "Of 2 differences to the control 0 are above zero and 0 below with the whole of their 95 % intervals, of which "
        "one in 20 misses by chance; the intervals of the other 2 hold zero. The largest difference is two copies − "
        "one copy at SE: +2.00 (−0.48 … +4.48)."
    )


def test_rows_are_compared_with_a_row(write):
    plan = Plan.make(read(write("mine", ROWS)), "quick", Changes(seeds=3))
    table, _ = measured(plan, VALUES)
    assert table["control"].tolist() == ["", "", "SE", "SE"]
    assert table.loc["IE", "one copy"]["difference"] == -10.5  # of the seeds 0 and 2
    assert "IE − SE at two copies: −16.67 (" in differences(table.reset_index())


def test_rows_of_another_group_have_another_control(write):
    text = ROWS.replace('name = "IE"', 'group = "B", name = "IE"')
    table, _ = measured(Plan.make(read(write("mine", text)), "quick", Changes(seeds=3)), VALUES)
    assert table["control"].tolist() == [""] * 4
    assert differences(table.reset_index()) == ""


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_page_says_what_is_known(write, seeds):
    plan = Plan.make(read(write("mine", COLUMNS)), "quick", Changes(seeds=seeds))
    table, served = measured(plan, {key: each[:seeds] for key, each in VALUES.items()})
    result = SimpleNamespace(table=table.reset_index(), findings=differences(table.reset_index()), scales=("2 epochs",))
    page = _page(result, plan, served, [])
    if seeds == 1:
        assert "| SE | 75.50 → 70.00 (70.00) | – → 72.00 (72.00) |" in page
        assert "One seed: no interval." in page
        assert "**Less the control** (one copy), one seed: no interval:" in page
        assert "| SE | – → +2.00 |" in page
        assert "Differences to the control are of one seed, without intervals; the largest of 2 is two copies" in page
    else:
        assert "| SE | 75.50 → 71.00 ± 2.48 (71.00) | – → 73.00 ± 4.30 (73.00) |" in page
        assert "of the mean over 2 to 3 seeds (Student's t)." in page
        assert "| IE | −0.50 → −1.00 (−13.71 … +11.71) |" in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (COLUMNS.replace('name = "IE"', 'name = "IE", control = true'), "rows and columns both have a control"),
        (COLUMNS.replace('"table"', '"speed"'), "columns: control = true is for a table, not for a picture of kind"),
        (COLUMNS.replace("control = true", 'control = "yes"'), "columns 1: control = 'yes' is not"),
    ],
)
def test_what_is_no_control(write, text, message):
    with pytest.raises(StripeError, match=message):
        read(write("mine", text))


def test_a_control_does_not_change_the_runs(write):
    plain, marked = (Plan.make(read(write("mine", text)), "quick") for text in (RECIPE, COLUMNS))
    assert plain.requests == marked.requests
