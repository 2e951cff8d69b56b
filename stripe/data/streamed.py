"""Large data sets: images decoded when they are needed, by worker processes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from stripe.data.base import Batches, IntArray, Share, Split
from stripe.data.crops import PADDING, mix
from stripe.data.images import Images, cpu_count, resize
from stripe.data.size import ImageSize, sides
from stripe.errors import StripeError

__all__ = ["StreamedSplit", "loader_of"]

MAX_WORKERS = 8


class StreamedSplit(Split):
    """A split of any size: memory holds the batches that are under way, never the set.

    Args:
        images: What decodes the images.
        labels: The class of every image, ``(N,)``.
        paths: A name for every image.
        image_size: Height and width in pixels of the images that come out.
    """

    image_size: ImageSize

    def __init__(self, images: Images, labels: npt.ArrayLike, paths: list[str], image_size: ImageSize) -> None:
        super().__init__(labels, paths, image_size)
        self._images = images

    def _plain(self, order: IntArray, batch_size: int, workers: int | None, share: Share) -> Batches:
        return _Streamed(self, order, batch_size, workers, self._images, transform=None, share=share)

    def augmented(
        self,
        batch_size: int,
        *,
        indices: IntArray,
        seed: int,
        device: torch.device,
        workers: int | None = None,
        share: Share = np.arange,
    ) -> Batches:
        """See ``Split.augmented``.

        Photos: random resized crop and flip (Szegedy et al. 2015, arXiv 1409.4842, section 6), of the proportions of
        the images that come out, give or take a third. Images that are all of one size: crop with padding and flip,
        as in memory.
        """
        height, width = size = sides(self._images.size)
        ratio = (width / height * 3 / 4, width / height * 4 / 3)
        crop = v2.RandomResizedCrop(size, ratio=ratio) if self._images.varied else v2.RandomCrop(size, padding=PADDING)
        transform = v2.Compose([crop, v2.RandomHorizontalFlip()])
        return _Streamed(self, indices, batch_size, workers, self._images, transform, seed, device, share)


class _Streamed(Batches):
    def __init__(
        self,
        split: StreamedSplit,
        indices: npt.ArrayLike,
        batch_size: int,
        workers: int | None,
        images: Images,
        transform: v2.Transform | None,
        seed: int = 0,
        device: torch.device | None = None,
        share: Share = np.arange,
    ) -> None:
        super().__init__(indices, batch_size)
        self._size, self._device = split.image_size, device or torch.device("cpu")
        self._labels, self._share = torch.from_numpy(split.labels[self.indices]), share
        fetch = _Fetch(images, self.indices, transform, seed)
        batches = [own.tolist() for own, _ in self.shared(share)]
        self._loader = loader_of(fetch, batches, workers, pin=self._device.type == "cuda")

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        labels = self._labels.to(self._device)
        for images, (_, batch) in zip(self._loader, self.shared(self._share), strict=True):
            if isinstance(images, StripeError):
                raise images
            yield resize(images.to(self._device, non_blocking=True), self._size), labels[batch]


class _Fetch(Dataset[Tensor]):
    """Whole batches of images by their positions in the pass; lives in the worker processes."""

    def __init__(self, images: Images, indices: IntArray, transform: v2.Transform | None, seed: int) -> None:
        self._images, self._indices = images, indices
        self._transform, self._seed = transform, seed

    def __len__(self) -> int:
        return len(self._indices)

    def __getitems__(self, positions: list[int]) -> Tensor | StripeError:
        try:
            if self._transform is None:
                return self._images.read(self._indices[positions])
            with torch.random.fork_rng(devices=[]):
                return torch.stack([self._augment(position) for position in positions])
        except StripeError as error:
            return error  # raised in a worker, it would reach the user with the worker's traceback as its text

    def _augment(self, position: int) -> Tensor:
        # Seeded image by image: neither the number of workers nor the batch size changes what is drawn.
        torch.manual_seed(mix(self._seed, position))
        assert self._transform is not None
        image: Tensor = self._transform(self._images.original(int(self._indices[position])))
        return image


def loader_of(fetch: Dataset[Any], batches: list[list[int]], workers: int | None, *, pin: bool) -> DataLoader[Any]:
    """What has batches fetched by worker processes.

    Args:
        fetch: Gives a whole batch for a list of positions, by ``__getitems__``.
        batches: The positions of each batch.
        workers: The number of processes; by default one per core, 8 at most.
        pin: Whether the batches are put into pinned memory, for a GPU.
    """
    wanted = min(cpu_count(), MAX_WORKERS) if workers is None else workers
    return DataLoader(
        fetch,
        batch_sampler=batches,
        num_workers=min(wanted, len(batches)),
        collate_fn=_as_fetched,
        pin_memory=pin,
        generator=torch.Generator(),  # or each pass would advance the user's own random numbers
    )


def _as_fetched(batch: Any) -> Any:
    return batch
