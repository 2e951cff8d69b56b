"""Choice of the images to look at: the same for everybody with the same seed."""

import numpy as np
import numpy.typing as npt

from stripe.data.base import IntArray, strata
from stripe.errors import StripeError

__all__ = ["choose_images"]


def choose_images(labels: npt.ArrayLike, count: int, seed: int) -> IntArray:
    """Choose images at random, balanced over the classes where there are classes.

    Each class gives as many images as the others, give or take one, until it has none left. A smaller choice
    with the same seed is part of a larger one.

    Args:
        labels: The class of every image, ``(N,)``. Targets that are no whole numbers are no classes.
        count: How many images to choose, 1..N.
        seed: Decides which, 0 or more.

    Returns:
        Indices into ``labels``, int64 ``(count,)``, ascending.

    Raises:
        StripeError: There are not so many images, or ``count`` is below 1.

    Example:
        >>> choose_images([0, 0, 0, 1, 1, 1], 2, seed=0).size
        2
    """
    labels = strata(labels)
    if not 1 <= count <= len(labels):
        raise StripeError(f"{count:,} images were asked for, but 1 to {len(labels):,} can be chosen here.")
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    _, classes, counts = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    # Each image's place in the queue of its class; the classes take turns in an order drawn once.
    by_class = np.argsort(classes, kind="stable")
    place = np.empty(len(labels), dtype=np.int64)
    place[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    turn = generator.permutation(len(counts))[classes]
    return np.sort(shuffled[np.lexsort((turn, place))[:count]]).astype(np.int64)
