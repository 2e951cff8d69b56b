import numpy as np
import pytest
import torch

from stripe.data import Data, load
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
