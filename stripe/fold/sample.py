"""The images that folding looks at, in the form that the network takes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, RandomSampler

from stripe.adapter import Batch, batch_of
from stripe.devices import device_of
from stripe.errors import StripeError
from stripe.tasks import Task

__all__ = ["Measure", "Metric", "Sample"]

Measure = Literal["accuracy", "agreement", "outputs"]
"""What a network is judged by.

``accuracy`` is the share of the images whose label gets the highest logit; ``agreement`` the share of those whose
highest logit is that of the class that the network with attention predicts. ``outputs`` measures nothing
but the change of the outputs, which may then be of any form.
"""

Metric = Callable[[Any, Any], Any]
"""From the outputs of a network and the item that the loader gave: one number per image, higher is better."""


class Sample:
    """Images as a network takes them, on its device and in its precision, with or without labels.

    Args:
        source: A DataLoader or a list of batches, of any form that ``stripe.adapter.batch_of`` understands. It is gone
            through several times.
        model: The network.
        what: What the images are, for messages.

    Attributes:
        measure: What a network is judged by.
        metric: A function of the user's own to judge by instead.
        task: What judges a network by the annotations of the images instead.
        predicted: (N,), for the agreement: the classes that the network with attention predicts.

    Raises:
        StripeError: It can be gone through once only, has no length, or holds nothing.
    """

    def __init__(self, source: Iterable[Any], model: nn.Module, what: str) -> None:
        if isinstance(source, Tensor) or not hasattr(source, "__iter__"):
            raise StripeError(f"the {what} are a {type(source).__name__}; give a DataLoader or a list of batches")
        if iter(source) is source:
            raise StripeError(f"the {what} can be gone through once only; give a DataLoader or a list of batches")
        self.source, self.model, self.what = source, model, what
        self.measure: Measure = "accuracy"
        self.metric: Metric | None = None
        self.task: Task | None = None
        self.predicted: Tensor | None = None
        try:
            len(self)
        except TypeError as error:  # a DataLoader over an IterableDataset
            raise StripeError(
                f"the {what} have no length; give a list of batches, or a loader with a length"
            ) from error
        self.device = device_of(model)

    def __iter__(self) -> Iterator[tuple[Batch, Tensor | None]]:
        """Images and labels (None where there are none)."""
        for batch, labels, _ in self.with_items():
            yield batch, labels

    def with_items(self) -> Iterator[tuple[Batch, Tensor | None, Any]]:
        """Images, labels, and what the source gave them as."""
        empty = True
        for item in self.source:
            batch = batch_of(item, self.model)
            if isinstance(batch.images, Tensor) or len({image.shape for image in batch.images}) == 1:
                batch = batch.stacked()
            if not len(batch):
                continue
            if not batch.images[0].is_floating_point():
                raise StripeError(
                    f"the {self.what} are {batch.images[0].dtype}; floating-point numbers are wanted, normalised as "
                    "the network takes them"
                )
            empty = False
            labels = _labels(item, batch)
            yield batch.on(self.model), None if labels is None else labels.to(self.device), item
        if empty:
            raise StripeError(f"there are no {self.what}")

    def __len__(self) -> int:
        """The number of batches."""
        return len(self.source)  # type: ignore[arg-type]

    def targets_of(self, item: Any) -> Any:
        """What a task takes as the targets of the images of an item, on the device.

        Raises:
            StripeError: The item has none.
        """
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise StripeError(f"the {self.what} have no targets for the task; give batches of (images, targets)")
        return tree_map(lambda leaf: leaf.to(self.device) if isinstance(leaf, Tensor) else leaf, item[1])

    def first(self) -> Batch:
        """The first batch of two images or more; of one, where none has more."""
        found = None
        for batch, _ in self:
            found = found or batch
            if len(batch) > 1:
                return batch
        assert found is not None
        return found

    def spread(self, count: int) -> "Sample":
        """Some of the images, at equal distances; all, where there are not more. They are held in memory."""
        sizes = [len(batch) for batch, _ in self]
        if sum(sizes) <= count:
            return self
        chosen = torch.linspace(0, sum(sizes) - 1, count, dtype=torch.float64).round().long()
        items, start = [], 0
        for batch, _, item in self.with_items():
            rows = chosen[(chosen >= start) & (chosen < start + len(batch))] - start
            if len(rows):
                items.append(_rows(item, rows, len(batch)))
            start += len(batch)
        some = Sample(items, self.model, self.what)
        some.measure, some.metric, some.task = self.measure, self.metric, self.task
        some.predicted = None if self.predicted is None else self.predicted[chosen]
        return some

    def in_order(self) -> "Sample":
        """The same, where they come in one order every time.

        Raises:
            StripeError: They are shuffled, so that networks could not be compared image by image.
        """
        if isinstance(self.source, DataLoader) and isinstance(self.source.sampler, RandomSampler):
            raise StripeError(
                f"the {self.what} are shuffled anew each time, and networks are compared on them image by image; give "
                "a DataLoader with shuffle=False" + ("" if "held" in self.what else ", or held_out= to compare on")
            )
        return self


def _rows(item: Any, rows: Tensor, count: int) -> Any:
    """Some images of a batch of any form, with all that belongs to them."""
    if isinstance(item, Tensor):
        return item[rows.to(item.device)] if item.ndim and len(item) == count else item
    if isinstance(item, np.ndarray):
        return item[rows.numpy()] if item.ndim and len(item) == count else item
    if isinstance(item, Mapping):
        return {key: _rows(value, rows, count) for key, value in item.items()}
    if not isinstance(item, tuple | list):
        return item
    if len(item) == count and not any(_is_batch(part, count) for part in item):
        return [item[int(row)] for row in rows]
    parts = [_rows(part, rows, count) for part in item]
    return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)


def _is_batch(value: Any, count: int) -> bool:
    """Whether a value is a batch of images, as one tensor or as a list."""
    if isinstance(value, list):
        return len(value) == count and all(isinstance(each, Tensor | np.ndarray) and each.ndim == 3 for each in value)
    return isinstance(value, Tensor | np.ndarray) and value.ndim > 3


def _labels(item: Any, batch: Batch) -> Tensor | None:
    """The labels as they are given, also where they are no classes, which is then said; −1 for all is none."""
    given = item[1] if isinstance(item, tuple | list) and len(item) > 1 else None
    images, first = batch.images, item[0] if isinstance(item, tuple | list) else None
    alike = isinstance(images, Tensor) and isinstance(first, Tensor) and first.shape == images.shape
    if isinstance(given, Tensor) and alike:
        return None if given.shape == (len(batch),) and bool((given == -1).all()) else given
    return None if bool((batch.labels == -1).all()) else batch.labels
