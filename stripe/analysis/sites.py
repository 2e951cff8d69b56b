"""Which sites of a capture are meant."""

from fnmatch import fnmatchcase

import xarray as xr

from stripe.capture import CaptureLike, as_capture
from stripe.errors import StripeError

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
    found = {name: site for name, site in opened.sites.items() if fnmatchcase(name, pattern)}
    if not found:
        names = list(opened.sites)
        some = ", ".join(names[:5]) + (f" … ({len(names)} in all)" if len(names) > 5 else "")
        raise StripeError(f"No site matches {pattern!r}. The capture has: {some}.")
    return found
