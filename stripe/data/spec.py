"""From a name to a data set."""

import os
from pathlib import Path

from stripe.data.base import Data
from stripe.data.folder import load_folder
from stripe.data.from_torchvision import NAMES, load_torchvision
from stripe.data.shapes import load_shapes
from stripe.data.size import ImageSize, parse_size
from stripe.data.splits import MEMORY_LIMIT
from stripe.errors import StripeError

__all__ = ["load"]


def load(
    spec: str,
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    image_size: ImageSize | str | None = None,
    seed: int | None = None,
    center_bias: float | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Data:
    """Load a data set by name. Images are decoded when they are first needed.

    ==================================== =============================================================
    ``shapes``, ``shapes:KEY=VALUE,…``   drawn by ourselves, see `stripe.data.shapes.load_shapes`
    ``folder:PATH``                      your own images, see `stripe.data.folder.load_folder`
    ``cifar10``, ``cifar100``,           through torchvision, see
    ``stl10``, ``imagenet``              `stripe.data.from_torchvision.load_torchvision`
    ==================================== =============================================================

    A split is held in memory where its images take no more than ``memory_limit``; others, and photos to train
    on, are streamed from disk by worker processes.

    Args:
        spec: Which data set.
        root: Where torchvision's data sets lie; the environment variable ``STRIPE_DATA`` by default, else ``data``.
        download: Fetch a torchvision data set that is not there.
        image_size: Height and width in pixels, as ``(48, 192)`` or ``"48x192"``, or one number for square images; each
            data set has its own default.
        seed: Of ``shapes``; the same as ``shapes:seed=…``. The other data sets do not depend on it.
        center_bias: Of ``shapes``; the same as ``shapes:center_bias=…``.
        memory_limit: Bytes of decoded images up to which a split is held in memory, 2 GiB by default.

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
    name, _, rest = spec.partition(":")
    if center_bias is not None and name != "shapes":
        raise StripeError(f"center_bias is a setting of shapes; {spec} has none.")
    if name == "shapes":
        given = {"seed": seed, "center_bias": center_bias}
        options = _options(spec, rest) | {key: str(value) for key, value in given.items() if value is not None}
        return load_shapes(options, image_size=size, memory_limit=memory_limit)
    if name == "folder" and rest:
        return load_folder(Path(rest), image_size=size, memory_limit=memory_limit)
    if spec in NAMES:
        folder = Path(root or os.environ.get("STRIPE_DATA") or "data").expanduser().absolute()
        return load_torchvision(spec, root=folder, download=download, image_size=size, memory_limit=memory_limit)
    raise StripeError(f"There is no data set {spec!r}. Use shapes, folder:PATH, {', '.join(NAMES)}.")


def _options(spec: str, text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if not all(key and value for key, _, value in pairs):
        raise StripeError(f"{spec!r} is not of the form shapes:key=value,key=value.")
    return {key.strip(): value.strip() for key, _, value in pairs}
