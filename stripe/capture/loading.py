"""What images come from: any loader, and what its batches hold."""

from collections.abc import Iterator
from typing import Any, Protocol

from stripe.adapter import batch_of
from stripe.errors import StripeError

__all__ = ["Loader", "count_images"]


class Loader(Protocol):
    """What images come from: iterated once an epoch, always in the same order.

    A ``torch.utils.data.DataLoader`` (not shuffled) is one. Each item is what `stripe.adapter.batch_of` understands: a
    batch of images, a tuple of images and labels, a list of images, a dictionary. An attribute ``num_images`` says how
    many images there are where a ``DataLoader`` would say it by itself.
    """

    def __iter__(self) -> Iterator[Any]: ...


def count_images(loader: Any) -> int:
    """How many images a loader gives."""
    if isinstance(loader, list | tuple):  # of batches
        return sum(len(batch_of(item)) for item in loader)
    for count in (lambda: loader.num_images, lambda: len(loader.sampler), lambda: len(loader.dataset)):
        try:
            return int(count())
        except (AttributeError, TypeError):
            continue
    raise StripeError(
        "The loader does not say how many images it gives: use a DataLoader over a data set with a length, or give it "
        "an attribute num_images."
    )
