import pytest
import torch

from stripe.errors import StripeError
from stripe.tasks import CLASSES, Scoring, count_of, select

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "than", "higher", "lower"),
    [(2, 1, True, False), (1, 2, False, True), (1, 1, False, False), (1, NAN, True, True), (NAN, 1, False, False)],
)
def test_better_is_higher_or_lower_and_nan_is_the_worst(value, than, higher, lower):
    assert Scoring().is_better(value, than) is higher
    assert Scoring(("loss",), best="loss", higher_is_better=False).is_better(value, than) is lower


@pytest.mark.parametrize(
    ("values", "losses", "best"),
    [
        ([1, 3, 2, 3], [5, 4, 3, 2], 1),
        ([NAN, 1, NAN], [0, 9, 0], 1),
        ([NAN, NAN, NAN], [3, 1, 1], 1),
        ([NAN, NAN], [NAN, 2], 1),
    ],
)
def test_where_nothing_could_be_measured_the_loss_decides(values, losses, best):
    assert Scoring().best_of(values, losses) == best


def test_what_could_not_be_measured_is_unknown():
    assert Scoring().spread([NAN, NAN]) == Scoring().text(NAN) == "unknown"


@pytest.mark.parametrize(
    ("measures", "best"),
    [
        ((), "loss"),
        (("accuracy",), "accuracy"),
        (("loss", "loss"), "loss"),
        (("loss",), "error"),
        (("loss", "a b"), "a b"),
    ],
)
def test_names_that_make_no_columns(measures, best):
    with pytest.raises(StripeError, match="a task measures"):
        Scoring(measures, best)


def test_a_run_says_what_its_task_measures():
    assert CLASSES.settings() is None
    assert Scoring.read(None) == Scoring()
    scoring = Scoring(("loss", "error"), best="error", higher_is_better=False)
    said = {"name": "regression", "measures": ["loss", "error"], "best": "error", "higher_is_better": False}
    assert Scoring.read(said) == scoring
    for damaged in ({}, "regression", {**said, "higher_is_better": "no"}, {**said, "measures": [1]}):
        with pytest.raises(StripeError):
            Scoring.read(damaged)


def test_targets_of_some_images_in_any_form():
    numbers = torch.arange(4)
    targets = {"boxes": [torch.full((n, 4), n) for n in range(4)], "pair": (numbers, 10 * numbers)}
    assert count_of(targets) == count_of(numbers) == 4
    some = select(targets, slice(1, 3))
    assert [len(boxes) for boxes in some["boxes"]] == [1, 2]
    assert [part.tolist() for part in some["pair"]] == [[1, 2], [10, 20]]
