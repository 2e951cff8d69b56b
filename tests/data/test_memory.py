import numpy as np
import torch
from torch import Tensor

from stripe.data.base import IntArray
from stripe.data.images import Images, read_all
from stripe.data.memory import MemorySplit


class Counted(Images):
    """Image i is of the grey level i; remembers what was read."""

    size = 5

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.count

    def read(self, indices: IntArray) -> Tensor:
        self.asked += indices.tolist()
        return torch.from_numpy(indices.astype(np.uint8)).view(-1, 1, 1, 1).expand(-1, 3, 5, 5)


def make(count: int = 20, image_size: int = 5) -> tuple[Counted, MemorySplit]:
    images = Counted(count)
    return images, MemorySplit(images, np.arange(count) % 3, [""] * count, image_size)


def grey(batches: object) -> list[int]:
    return [int(image[0, 0, 0]) for images, _ in batches for image in images]  # type: ignore[attr-defined]


def test_nothing_is_decoded_before_it_is_asked_for() -> None:
    images, split = make()
    split.loader(4)
    assert (len(split), split.labels[4], images.asked) == (20, 1, [])


def test_images_come_in_the_order_of_the_indices_with_their_labels() -> None:
    _, split = make()
    batches = split.loader(2, indices=[7, 3, 11])
    assert grey(batches) == [7, 3, 11]
    assert [labels.tolist() for _, labels in batches] == [[1, 0], [2]]
    assert batches.indices.tolist() == [7, 3, 11]


def test_all_images_by_default() -> None:
    _, split = make()
    assert grey(split.loader(6)) == list(range(20))


def test_a_few_images_are_decoded_alone_and_once() -> None:
    images, split = make()
    batches = split.loader(2, indices=[7, 3, 11])
    assert grey(batches) == grey(batches) == [7, 3, 11]
    assert sorted(images.asked) == [3, 7, 11]


def test_the_whole_set_is_decoded_once_for_all_loaders() -> None:
    images, split = make()
    for _ in range(2):
        list(split.loader(4))
        list(split.loader(4, indices=[1, 2]))
    assert sorted(images.asked) == list(range(20))


def test_resized_batch_by_batch_while_the_small_images_stay() -> None:
    _, split = make(image_size=13)
    images, _ = next(iter(split.loader(4)))
    assert images.shape == (4, 3, 13, 13)
    assert images.dtype == torch.uint8
    assert split.images.shape == (20, 3, 5, 5)
    assert (images == torch.arange(4).view(-1, 1, 1, 1)).all()


def test_read_all_keeps_the_order_over_many_chunks() -> None:
    wanted = np.random.default_rng(0).permutation(250)
    out = read_all(Counted(250), wanted, "")
    assert out[:, 2, 4, 4].tolist() == wanted.tolist()


def test_one_image() -> None:
    _, split = make(count=1)
    assert grey(split.loader(100)) == [0]


def test_first_read_under_inference_mode() -> None:
    """What was decoded then is an ordinary tensor: others may train on it."""
    _, split = make()
    with torch.inference_mode():
        list(split.loader(6))
    assert not next(iter(split.loader(6)))[0].is_inference()
    assert not split.images.is_inference()
