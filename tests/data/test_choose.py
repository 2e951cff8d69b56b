from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe.data import choose_images
from stripe.errors import StripeError

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@given(LABELS, st.data(), st.integers(0, 2**32))
def test_every_class_gives_as_many_as_the_others_until_it_is_empty(
    labels: list[int], data: st.DataObject, seed: int
) -> None:
    count = data.draw(st.integers(1, len(labels)))
    chosen = choose_images(labels, count, seed)
    assert chosen.dtype == np.int64
    assert len(set(chosen.tolist())) == count
    assert chosen.tolist() == sorted(chosen.tolist())
    taken = {label: sum(labels[i] == label for i in chosen) for label in set(labels)}
    most = max(taken.values())
    for label, number in taken.items():
        assert number >= most - 1 or number == labels.count(label)


@given(LABELS, st.integers(0, 1000))
def test_a_smaller_choice_is_part_of_a_larger_one(labels: list[int], seed: int) -> None:
    choices = [set(choose_images(labels, count, seed).tolist()) for count in range(1, len(labels) + 1)]
    assert all(small < large for small, large in pairwise(choices))


def test_the_seed_decides() -> None:
    labels = np.arange(1000) % 10
    first, again, other = (choose_images(labels, 50, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_not_only_the_first_of_each_class() -> None:
    assert choose_images(np.arange(1000) % 10, 50, 0).max() > 500


def test_labels_need_not_start_at_zero_or_be_next_to_each_other() -> None:
    labels = np.array([7, 7, 7, 100])
    assert sorted(labels[choose_images(labels, 2, 0)]) == [7, 100]


@pytest.mark.parametrize("count", [0, -1, 5])
def test_more_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(StripeError, match="1 to 4"):
        choose_images([0, 1, 0, 1], count, 0)
