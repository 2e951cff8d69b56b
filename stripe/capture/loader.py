"""Loaders of images."""

from collections.abc import Iterator
from typing import Any, Protocol

from stripe.adapter import batch_of
from stripe.errors import StripeError

__all__ = ["Loader", "count_images"]


class Loader(Protocol):
    """A source of images that is iterated once per epoch, always in the same order.

    A ``torch.utils.data.DataLoader`` that does not shuffle is one. Each item is a batch in a form that
    ``stripe.adapter.batch_of`` accepts: a tensor of images, a tuple of images and labels, a list of images, or a
    dictionary. A loader that is not a ``DataLoader`` has an attribute ``num_images``, its number of images.
    """

    def __iter__(self) -> Iterator[Any]: ...


def count_images(loader: Any) -> int:
    """The number of images that a loader gives in one epoch."""
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
