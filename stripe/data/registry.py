"""From a name to a data set, and the names that there are."""

import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stripe.data.base import Data
from stripe.data.size import ImageSize, parse_size
from stripe.data.splits import MEMORY_LIMIT
from stripe.errors import StripeError
from stripe.names import did_you_mean
from stripe.registry import LAST, Registry

__all__ = ["load", "names", "register"]

Loader = TypeVar("Loader", bound=Callable[..., Data])

GIVEN = ("name", "rest", "root", "download", "image_size", "seed", "center_bias", "memory_limit", "own_sizes")
"""The arguments that the function of a data set can have."""


@dataclass(frozen=True)
class _Known:
    """A registered data set: its function, and its name as people write it."""

    load: Callable[..., Data]
    usage: str

    @property
    def takes(self) -> list[str]:
        return list(inspect.signature(self.load).parameters)

    def fits(self, colon: str, rest: str) -> bool:
        """Whether what follows the name is of the form that the data set wants."""
        return bool(rest) if ":" in self.usage else not colon or "rest" in self.takes


_known: Registry[_Known] = Registry("stripe.data", "a data set")


def register(usage: str, *, place: int = LAST) -> Callable[[Loader], Loader]:
    """Give a data set a name: a decorator of the function that loads it.

    With it the data set is known to ``load``, ``stripe … --data``, recipes and error messages. In this folder the
    decorator is all that a new file needs to be found, and to be named by ``--help``. A data set of your own, in any
    file, is known once that file is imported.

    The function returns a ``Data``. It names those of these arguments that it needs: ``name`` and ``rest``, the parts
    of the specification before and after the first colon; ``root``, the folder of published data sets; ``image_size``,
    parsed, or None for the data set's own; ``download``, ``seed``, ``center_bias``, ``memory_limit`` and ``own_sizes``
    as for ``load``.

    Args:
        usage: The name as people write it, with a colon where more has to follow, as in ``folder:PATH``.
        place: The place in lists, from the lowest to the highest; data sets of one place go by name.

    Raises:
        StripeError: The name is taken or no such name, or the function has other arguments.

    Example:
        >>> from dataclasses import replace
        >>> from stripe.data import load
        >>> @register("few")
        ... def load_few(image_size):
        ...     return replace(load("shapes:train=40,test=10", image_size=image_size), spec="few")
        >>> len(load("few", image_size=64).train)
        40
    """
    if not re.fullmatch(r"[a-z][\w.-]*(:\S+)?", usage):
        raise StripeError(f"{usage!r} cannot be the name of a data set; write it as coco, or coco:PATH.")

    def decorate(function: Loader) -> Loader:
        name, known = usage.partition(":")[0], _Known(function, usage)
        if unknown := set(known.takes) - set(GIVEN):
            raise StripeError(
                f"The function of the data set {name!r} wants {', '.join(sorted(unknown))}; it can be given "
                f"{', '.join(GIVEN)}."
            )
        _known.add(name, known, place=place, source=function)
        return function

    return decorate


def names() -> list[str]:
    """The data sets as people write their names, as ``folder:PATH``."""
    return [known.usage for known in _known.values()]


def load(
    spec: str,
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    image_size: ImageSize | str | None = None,
    seed: int | None = None,
    center_bias: float | None = None,
    memory_limit: int = MEMORY_LIMIT,
    own_sizes: bool = False,
) -> Data:
    """Load a data set by name. Images are decoded when they are first needed.

    ==================================== =============================================================
    ``shapes``, ``shapes:KEY=VALUE,…``   drawn by ourselves, see ``stripe.data.shapes.load_shapes``
    ``scenes``, ``scenes:KEY=VALUE,…``   likewise, with boxes, outlines and the class of every pixel, see
                                         ``stripe.data.scenes.load_scenes``
    ``folder:PATH``                      your own images, see ``stripe.data.folder.load_folder``
    ``coco:DIR``, ``coco:images=…,…``    your own images with boxes and outlines in COCO's format, see
                                         ``stripe.data.coco.load_coco``
    ``voc:DIR``                          likewise, in the format of PASCAL VOC, see ``stripe.data.voc.load_voc``
    ``cifar10``, ``cifar100``,           through torchvision, see
    ``stl10``, ``imagenet``              ``stripe.data.from_torchvision``
    ==================================== =============================================================

    Further ones can be registered, see ``stripe.data.register``. A split is held in memory where its images take no
    more than ``memory_limit``; others, and photos to train on, are streamed from disk by worker processes.

    Args:
        spec: Which data set.
        root: Where torchvision's data sets lie; the environment variable ``STRIPE_DATA`` by default, else ``data``.
        download: Fetch a torchvision data set that is not there.
        image_size: Height and width in pixels, as ``(48, 192)`` or ``"48x192"``, or one number for square images; each
            data set has its own default.
        seed: The seed of ``shapes`` and ``scenes``, and of the images held out of a set that is not in two halves; the
            same as ``shapes:seed=…``. The others do not depend on it.
        center_bias: A setting of ``shapes`` and ``scenes``; the same as ``shapes:center_bias=…``.
        memory_limit: Bytes of decoded images up to which a split is held in memory, 2 GiB by default.
        own_sizes: Whether every image keeps its own size, where no ``image_size`` is given; for detectors, which take a
            list of images. Data sets whose images are of one size give these as ever.

    Returns:
        The data set. ``load(data.spec, image_size=data.image_size)`` gives the same images again.

    Raises:
        StripeError: The name is not known, or the data cannot be found or used; the message says what to do.

    Example:
        >>> from stripe.data import load
        >>> data = load("shapes:train=100,test=20")
        >>> images, labels = next(iter(data.test.loader(20)))
        >>> images.shape, images.dtype, data.normalize(images).dtype
        (torch.Size([20, 3, 32, 32]), torch.uint8, torch.float32)
    """
    size = None if image_size is None else parse_size(image_size)
    name, colon, rest = spec.partition(":")
    known = _known.get(name)
    if known is None or not known.fits(colon, rest):
        if spec and Path(spec).expanduser().is_dir():
            raise StripeError(f"There is no data set {spec!r}, but a folder; did you mean folder:{spec}?")
        hint = did_you_mean(name, _known) if known is None else ""
        raise StripeError(f"There is no data set {spec!r}. Use {', '.join(names())}{hint or '.'}")
    if center_bias is not None and "center_bias" not in known.takes:
        others = " and ".join(other for other, entry in _known.items() if "center_bias" in entry.takes)
        raise StripeError(f"center_bias is a setting of {others}; {spec} has none.")
    given = {
        "name": name,
        "rest": rest,
        "root": Path(root or os.environ.get("STRIPE_DATA") or "data").expanduser(),
        "download": download,
        "image_size": size,
        "seed": seed,
        "center_bias": center_bias,
        "memory_limit": memory_limit,
        "own_sizes": own_sizes,
    }
    return known.load(**{argument: given[argument] for argument in known.takes})
