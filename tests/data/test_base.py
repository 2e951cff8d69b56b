from dataclasses import replace

import numpy as np
import pytest
import torch

from stripe.data import Data, choose_images, load
from stripe.data.memory import MemorySplit
from stripe.errors import StripeError


@pytest.fixture
def data() -> Data:
    split = load("shapes:train=10,test=10").test
    return Data("x", ("a",), 2, (0.5, 0.25, 0.0), (0.25, 0.5, 1.0), split, split)


def test_normalize_subtracts_the_mean_and_divides_by_the_std_of_each_channel(data: Data) -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    normal = data.normalize(images)
    assert normal.shape == (2, 3, 2, 2)
    assert normal.dtype == torch.float32
    np.testing.assert_allclose(normal[1, :, 0, 1], [-2.0, (0.2 - 0.25) / 0.5, 1.0], atol=1e-6)


def test_normalize_leaves_its_input_alone(data: Data) -> None:
    images = torch.full((1, 3, 2, 2), 7, dtype=torch.uint8)
    data.normalize(images)
    assert (images == 7).all()


def test_normalize_in_inference_mode_does_not_spoil_later_training(data: Data) -> None:
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    with torch.inference_mode():
        data.normalize(images)
    weight = torch.ones(1, requires_grad=True)
    (data.normalize(images) * weight).sum().backward()
    assert weight.grad is not None


def test_batches_know_how_many_they_are(data: Data) -> None:
    batches = data.test.loader(4)
    assert (len(batches), batches.num_images) == (3, 10)
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert len(data.test.loader(5)) == 2


def test_no_images_are_no_batches(data: Data) -> None:
    batches = data.test.loader(4, indices=[])
    assert len(batches) == 0
    assert list(batches) == []


def test_a_batch_size_of_zero_is_refused(data: Data) -> None:
    with pytest.raises(StripeError, match="batch size is 0"):
        data.test.loader(0)


def split_of(labels: object) -> MemorySplit:
    count = len(labels)
    return MemorySplit(torch.zeros(count, 3, 8, 8, dtype=torch.uint8), labels, [str(n) for n in range(count)], 8)


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([0.5, 1.7, 2.9], np.float32),
        ([1.0, 2.0, 4.0], np.float32),
        (np.array([[0.5, 1.0], [2.0, 0.25]]), np.float32),
        ([2, 0, 1], np.int64),
        (np.array([2, 0], dtype=np.uint8), np.int64),
        ([True, False], np.int64),
        ([], np.int64),
    ],
)
def test_labels_stay_what_they_are(labels, dtype) -> None:
    split = split_of(labels)
    assert split.labels.dtype == dtype
    for batches in (
        split.loader(2),
        split.augmented(2, indices=np.arange(len(labels)), seed=0, device=torch.device("cpu")),
    ):
        seen = [row for _, batch in batches for row in batch.tolist()]
        assert np.allclose(np.asarray(seen), np.asarray(labels))


@pytest.mark.parametrize("labels", [["a", "b"], [[1], [1, 2]], [1j, 2j], [None, 1]])
def test_labels_that_are_no_numbers(labels) -> None:
    with pytest.raises(StripeError, match="labels must be numbers, one entry of the same shape"):
        split_of(labels)


def test_a_label_for_each_image() -> None:
    with pytest.raises(StripeError, match="2 labels for 3 images"):
        MemorySplit(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), [0, 1], ["a", "b", "c"], 8)


@pytest.mark.parametrize("labels", [[0.5, 1.0], [[0], [1]]])
def test_targets_are_no_classes(data: Data, labels) -> None:
    split = split_of(labels)
    with pytest.raises(StripeError, match=r"labels of x are not one whole number per image.*task="):
        replace(data, train=split, test=split).require_classes()


def test_images_with_targets_are_chosen_at_random() -> None:
    chosen = choose_images([0.5, 0.5, 1.5, 2.5], 3, seed=0)
    assert len(set(chosen.tolist())) == 3
    assert set(choose_images([0.5, 0.5, 1.5, 2.5], 2, seed=0)) <= set(chosen)
    assert len(choose_images(np.full((5, 2), 0.5), 5, seed=0)) == 5
