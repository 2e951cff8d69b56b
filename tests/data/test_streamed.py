from pathlib import Path

import numpy as np
import pytest
import torch

from stripe.data import load, train_batches
from stripe.data.streamed import StreamedSplit
from stripe.errors import StripeError

from .conftest import WriteImages


@pytest.fixture
def photos(write_images: WriteImages) -> Path:
    write_images("photos/train", {"a": 9, "b": 8}, size=(300, 200))
    write_images("photos/test", {"a": 3}, size=(300, 200))
    return write_images("photos/test", {"b": 3}, size=(200, 310)).parent


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_and_the_pixels_are_those_of_memory(workers: int) -> None:
    order = [5, 1, 19, 0, 7, 7]
    spec = "shapes:train=20,test=20"
    streamed = load(spec, memory_limit=0).test
    assert isinstance(streamed, StreamedSplit)
    batches = streamed.loader(4, indices=order, workers=workers)
    expected = load(spec).test.loader(4, indices=order)
    assert (len(batches), batches.num_images, batches.indices.tolist()) == (2, 6, order)
    for _ in range(2):
        for (images, labels), (same, same_labels) in zip(batches, expected, strict=True):
            assert torch.equal(images, same)
            assert torch.equal(labels, same_labels)


def test_a_broken_file_is_named_and_no_worker_traceback_is_shown(photos: Path) -> None:
    broken = photos / "test" / "b" / "001.png"
    broken.write_bytes(broken.read_bytes()[:-100])
    batches = load(f"folder:{photos}", image_size=20, memory_limit=0).test.loader(2, workers=1)
    with pytest.raises(StripeError, match=r"001\.png cannot be read") as caught:
        list(batches)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("images_per_epoch", [None, 7])
def test_augmentation_depends_on_neither_workers_nor_batch_size(photos: Path, images_per_epoch: int | None) -> None:
    split = load(f"folder:{photos}", image_size=20).train
    assert isinstance(split, StreamedSplit)  # to train on photos, crops are cut from the originals

    def epoch(batch_size: int, workers: int) -> tuple[torch.Tensor, torch.Tensor]:
        batches = train_batches(split, batch_size, seed=1, epoch=2, images_per_epoch=images_per_epoch, workers=workers)
        images, labels = zip(*batches, strict=True)
        return torch.cat(images), torch.cat(labels)

    images, labels = epoch(4, 0) if images_per_epoch else epoch(5, 0)
    other, other_labels = epoch(7, 2)
    assert images.shape == (images_per_epoch or 17, 3, 20, 20)
    assert torch.equal(images, other)
    assert torch.equal(labels, other_labels)
    # The grey level of an image is its number, whatever the crop.
    assert ((images[:, 0, 0, 0] >= 9) == (labels == 1)).all()


def test_random_crops_of_small_images_are_padded_and_resized() -> None:
    split = load("shapes:train=40,test=10", memory_limit=0).train
    images, _ = next(iter(train_batches(split, 40, seed=0, epoch=0, workers=0)))
    plain = split.loader(40, indices=train_batches(split, 40, seed=0, epoch=0).indices, workers=0)
    assert images.shape == (40, 3, 32, 32)
    shifted = (images != next(iter(plain))[0]).flatten(1).any(1)
    assert 30 < shifted.sum() <= 40


def test_the_users_random_numbers_are_left_alone(photos: Path) -> None:
    split = load(f"folder:{photos}", image_size=20).train
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(train_batches(split, 4, seed=1, epoch=2, workers=0))
    list(split.loader(4, workers=1))
    assert torch.equal(torch.rand(3), expected)


def test_small_files_are_resized_for_a_larger_network(write_images: WriteImages) -> None:
    path = write_images("small", {"a": 5, "b": 5}, size=(8, 8))
    data = load(f"folder:{path}", image_size=24, memory_limit=0)
    images, _ = next(iter(data.train.loader(3, workers=0)))
    assert images.shape == (3, 3, 24, 24)
    images, _ = next(iter(train_batches(data.train, 3, seed=0, epoch=0, workers=0)))
    assert images.shape == (3, 3, 24, 24)


def test_only_the_batches_that_are_needed_are_read() -> None:
    split = load("shapes:train=10,test=50000", memory_limit=0).test
    read: list[int] = []
    plain = split._images.read  # type: ignore[attr-defined]
    split._images.read = lambda indices: (read.extend(np.asarray(indices)), plain(indices))[1]  # type: ignore[attr-defined]
    next(iter(split.loader(5, workers=0)))
    assert read == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("limit", [0, None], ids=["streamed", "in memory"])
def test_a_share_of_each_batch_is_what_the_whole_batch_has_there(limit: int | None) -> None:
    split = load("shapes:train=20,test=10", **({} if limit is None else {"memory_limit": limit})).train
    settings = {"seed": 3, "epoch": 1, "workers": 0}
    whole = list(train_batches(split, 8, **settings))
    shared = list(train_batches(split, 8, **settings, share=lambda count: np.arange(1, count, 3)))
    assert [len(images) for images, _ in shared] == [3, 3, 1]
    plain = list(split.loader(8, workers=0))
    plain_shared = list(split.loader(8, workers=0, share=lambda count: np.arange(1, count, 3)))
    for (images, labels), (own, all_labels) in zip([*whole, *plain], [*shared, *plain_shared], strict=True):
        assert torch.equal(own, images[1::3])
        assert torch.equal(all_labels, labels)


def test_the_share_of_others_is_not_decoded() -> None:
    split = load("shapes:train=30,test=10", memory_limit=0).train
    read: list[int] = []
    plain = split._images.original  # type: ignore[attr-defined]
    split._images.original = lambda index: (read.append(index), plain(index))[1]  # type: ignore[attr-defined]
    batches = train_batches(split, 10, seed=0, epoch=0, workers=0, share=lambda count: np.arange(count // 2))
    list(batches)
    assert read == [*batches.indices[0:5], *batches.indices[10:15], *batches.indices[20:25]]


def test_neither_is_it_where_images_are_taken_as_they_are() -> None:
    split = load("shapes:train=12,test=10", memory_limit=0).train
    read: list[int] = []
    plain = split._images.read  # type: ignore[attr-defined]
    split._images.read = lambda indices: (read.extend(np.asarray(indices)), plain(indices))[1]  # type: ignore[attr-defined]
    list(split.loader(5, indices=[*range(11, 0, -1)], workers=0, share=lambda count: np.arange(0, count, 3)))
    assert read == [11, 8, 6, 3, 1]
