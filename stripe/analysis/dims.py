"""The names of a capture's dimensions, and what they mean to the analysis."""

from collections.abc import Iterable

import xarray as xr

from stripe.errors import StripeError

__all__ = ["feature_dims", "map_dims", "require"]

# What values are repeated over; one image's values at a site lie along all other dimensions.
REPEATED = ("epoch", "image")
POSITIONS = ("depth", "height", "width", "length", "token")


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
