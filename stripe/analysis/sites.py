"""Which sites of a capture are meant."""

import xarray as xr

from stripe.capture import CaptureLike, as_capture
from stripe.errors import StripeError
from stripe.names import matching

__all__ = ["select_sites"]


def select_sites(capture: CaptureLike, pattern: str = "*") -> dict[str, xr.Dataset]:
    """The sites of a capture whose name matches a shell pattern, in the order of the forward pass.

    Args:
        capture: A capture, its tree or its path.
        pattern: A shell pattern such as ``"layer3.*"``; ``"*"`` is all of them.

    Returns:
        The name of a site → its values.

    Raises:
        StripeError: The capture has no sites, or none that matches.
    """
    opened = as_capture(capture)
    if not opened.sites:
        if opened.layers:
            raise StripeError(
                "The capture holds Grad-CAM maps and no attention; `stripe plot --kind gradcam` draws it."
            )
        raise StripeError("This is not a capture with attention sites: it has no group 'sites' with a site in it.")
    return {name: opened.sites[name] for name in matching(opened.sites, pattern, "the capture")}
