import pytest
import torch
from torch import Tensor

from stripe.data import Split, load, train_batches
from stripe.data.memory import MemorySplit
from stripe.errors import StripeError


@pytest.fixture
def split() -> Split:
    """Image i is of the grey level 100 + i, its label is i."""
    images = (100 + torch.arange(50, dtype=torch.uint8)).view(-1, 1, 1, 1).expand(-1, 3, 12, 12)
    return MemorySplit(images.contiguous(), range(50), [""] * 50, 12)


def together(split: Split, batch_size: int = 8, **options: int) -> tuple[Tensor, Tensor]:
    images, labels = zip(*train_batches(split, batch_size, **options), strict=True)  # type: ignore[arg-type]
    return torch.cat(images), torch.cat(labels)


def test_every_image_once_shuffled_with_its_label(split: Split) -> None:
    images, labels = together(split, seed=0, epoch=0)
    assert sorted(labels.tolist()) == list(range(50))
    assert labels.tolist() != list(range(50))
    assert torch.equal(images.amax((1, 2, 3)), (100 + labels).to(torch.uint8))  # the crop's padding is black


def test_an_epoch_follows_from_seed_and_epoch_alone(split: Split) -> None:
    images, labels = together(split, seed=3, epoch=7)
    torch.rand(5)
    together(split, seed=3, epoch=6)
    again, again_labels = together(split, seed=3, epoch=7)
    assert torch.equal(images, again)
    assert torch.equal(labels, again_labels)
    for seed, epoch in ((3, 8), (4, 7), (7, 3)):
        assert not torch.equal(together(split, seed=seed, epoch=epoch)[1], labels)


def test_augmentation_does_not_depend_on_the_batch_size(split: Split) -> None:
    assert torch.equal(together(split, 8, seed=0, epoch=1)[0], together(split, 25, seed=0, epoch=1)[0])


def test_a_second_pass_is_the_same(split: Split) -> None:
    batches = train_batches(split, 8, seed=0, epoch=0)
    for (images, _), (again, _) in zip(batches, batches, strict=True):
        assert torch.equal(images, again)


def test_fewer_images_an_epoch_are_others_each_time(split: Split) -> None:
    first, second = (set(together(split, seed=0, epoch=e, images_per_epoch=20)[1].tolist()) for e in (0, 1))
    assert len(first) == len(second) == 20
    assert first != second


def test_more_images_an_epoch_than_there_are_is_all(split: Split) -> None:
    assert len(together(split, seed=0, epoch=0, images_per_epoch=1000)[1]) == 50


def test_a_single_image_left_over_is_dropped(split: Split) -> None:
    batches = train_batches(split, 7, seed=0, epoch=0)
    assert [len(labels) for _, labels in batches] == [7] * 7
    assert (len(batches), batches.num_images) == (7, 49)


def test_one_image_is_kept(split: Split) -> None:
    assert len(train_batches(split, 7, seed=0, epoch=0, images_per_epoch=1)) == 1


def test_no_images_an_epoch_is_refused(split: Split) -> None:
    with pytest.raises(StripeError, match="at least 1"):
        train_batches(split, 7, seed=0, epoch=0, images_per_epoch=0)


def test_resized_after_the_crop() -> None:
    split = MemorySplit(torch.full((6, 3, 8, 8), 9, dtype=torch.uint8), range(6), [""] * 6, 16)
    images, _ = together(split, seed=0, epoch=0)
    assert images.shape == (6, 3, 16, 16)
    assert images.dtype == torch.uint8


@pytest.mark.cuda
def test_a_gpu_gets_the_same_images() -> None:
    split = load("shapes:train=40,test=10").train
    for (images, labels), (there, there_labels) in zip(
        train_batches(split, 16, seed=0, epoch=0),
        train_batches(split, 16, seed=0, epoch=0, device="cuda"),
        strict=True,
    ):
        assert there.is_cuda
        assert torch.equal(images, there.cpu())
        assert torch.equal(labels, there_labels.cpu())
