"""The names of a capture's dimensions, and what they mean to the analysis."""

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from stripe.errors import StripeError

__all__ = ["Values", "feature_dims", "labelled", "map_dims", "require"]

# What values are repeated over; one image's values at a site lie along all other dimensions.
REPEATED = ("epoch", "image")
POSITIONS = ("depth", "height", "width", "length", "token")

# Names of the axes of an array that has none, by their number.
NAMES = {
    1: ("image",),
    2: ("image", "channel"),
    3: ("image", "height", "width"),
    4: ("image", "channel", "height", "width"),
}
MAP_NAMES = {**NAMES, 2: ("image", "token")}


class Tensor(Protocol):
    """A tensor of torch, which this package does not import."""

    def detach(self) -> Any:
        """The tensor without its gradient."""


Values = xr.DataArray | npt.NDArray[Any] | Tensor
"""Values as the functions of one array accept them: with named dimensions, as in a capture, or a NumPy array or torch
tensor whose first axis is the images: (image, channel), (image, height, width), or (image, channel, height, width).
Where epochs are compared, the axis of the epochs goes before that of the images."""


def labelled(values: Values, *, epochs: bool = False, maps: bool = False) -> xr.DataArray:
    """Name the axes of an array that has no names; an array that has some is returned unchanged.

    Args:
        values: Array with named dimensions, NumPy array or torch tensor on any device.
        epochs: Whether the first axis of an array without names is the epochs, and not the images.
        maps: Whether a single axis beside that of the images is the tokens of a map, and not the channels.

    Raises:
        StripeError: The array has more axes than can be named, or it is no array of numbers.
    """
    if isinstance(values, xr.DataArray):
        return values
    array = np.asarray(values if not hasattr(values, "detach") else _of_torch(values))
    if array.dtype.kind not in "biuf":
        raise StripeError(f"Attention values are an array of numbers, and not a {type(values).__name__}.")
    names = (MAP_NAMES if maps else NAMES).get(array.ndim - epochs)
    if epochs and array.ndim == 1:
        names = ()
    if names is None:
        raise StripeError(
            f"An array with {array.ndim} axes does not say which of them are what; name them: "
            "xarray.DataArray(values, dims=('epoch', 'image', 'channel'))."
        )
    return xr.DataArray(array, dims=("epoch", *names) if epochs else names)


def _of_torch(values: Tensor) -> Any:
    """A tensor as a NumPy array, which has no bfloat16."""
    tensor = values.detach().cpu()
    return (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()


def feature_dims(values: xr.DataArray) -> list[str]:
    """The dimensions along which one image's values lie, in the order of the array; none for one value an image."""
    return [str(dim) for dim in values.dims if dim not in REPEATED]


def map_dims(values: xr.DataArray) -> list[str]:
    """The dimensions of an attention map: height and width, or token; none for channel attention."""
    return [str(dim) for dim in values.dims if dim in POSITIONS]


def require(values: xr.DataArray, dims: Iterable[str], purpose: str) -> None:
    """Raise a `StripeError` that names what is missing unless ``values`` has all of ``dims``, none of them empty."""
    for dim in dims:
        if dim not in values.dims:
            found = ", ".join(map(str, values.dims)) or "none"
            raise StripeError(
                f"{purpose} needs the dimension '{dim}', but the array's dimensions are: {found}. "
                f"Name them with .rename(), for example .rename(old_name='{dim}')."
            )
        if values.sizes[dim] == 0:
            raise StripeError(f"{purpose} needs values, but the array has none along the dimension '{dim}'.")
