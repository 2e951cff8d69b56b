import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stripe.data import train_batches
from stripe.data.memory import MemorySplit
from stripe.errors import StripeError
from stripe.training.holdout import hold_out


def split_of(labels):
    """Images that are filled with their own number."""
    pixels = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone()
    return MemorySplit(pixels, labels, [str(index) for index in range(len(labels))], 8)


def numbers(split, **how):
    return [int(image.max()) for images, _ in split.loader(4, **how) for image in images]


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=6, max_size=200))
def test_a_tenth_of_each_class_and_nothing_is_lost(labels):
    kept, held = hold_out(split_of(labels))
    assert sorted([*kept.chosen, *held.chosen]) == list(range(len(labels)))
    assert abs(len(held) - len(labels) / 10) < 1
    for label in set(labels):
        assert abs((held.labels == label).sum() - labels.count(label) / 10) < 1


def test_it_is_the_same_each_time():
    (_, first), (_, second) = hold_out(split_of([0, 1] * 30)), hold_out(split_of([0, 1] * 30))
    np.testing.assert_array_equal(first.chosen, second.chosen)
    assert list(first.chosen) != list(range(5, 60, 10))  # drawn, not every tenth of the files


def test_images_labels_and_names_stay_together():
    labels = [index % 3 for index in range(40)]
    kept, held = hold_out(split_of(labels))
    for part in (kept, held):
        assert numbers(part) == list(part.chosen) == [int(path) for path in part.paths]
        assert list(part.labels) == [labels[index] for index in part.chosen]
        assert numbers(part, indices=[2, 0]) == [part.chosen[2], part.chosen[0]]
    seen = [
        (int(image.max()), int(label))
        for images, targets in train_batches(kept, 8, seed=0, epoch=1)
        for image, label in zip(images, targets, strict=True)
    ]
    assert sorted(number for number, _ in seen) == list(kept.chosen)
    assert all(labels[number] == label for number, label in seen)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_images(count):
    with pytest.raises(StripeError, match=r"select='test'"):
        hold_out(split_of([0] * count))
