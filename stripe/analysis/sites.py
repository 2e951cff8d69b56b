"""Which sites of a capture are meant."""

from fnmatch import fnmatchcase

import numpy as np
import xarray as xr

from stripe.errors import StripeError

__all__ = ["select_sites"]


def select_sites(capture: xr.DataTree, pattern: str = "*") -> dict[str, xr.Dataset]:
    """The sites of a capture whose name matches a shell pattern, in the order of the forward pass.

    Args:
        capture: A capture, as `stripe.capture.open_capture` or ``xarray.open_datatree`` opens it.
        pattern: A shell pattern such as ``"layer3.*"``; ``"*"`` is all of them.

    Returns:
        The name of a site → its data set, with the learning rates and the coordinates of the capture, and only the
        epochs that are complete: ``xarray.open_datatree`` alone would show those that were never written, too.

    Raises:
        StripeError: The capture has no sites, or none that matches.
    """
    if "sites" not in capture.children or not capture["sites"].children:
        if "gradcam" in capture.children:
            raise StripeError(
                "The capture holds Grad-CAM maps and no attention; `stripe plot --kind gradcam` draws it."
            )
        raise StripeError("This is not a capture with attention sites: it has no group 'sites' with a site in it.")
    nodes = sorted(capture["sites"].children.items(), key=lambda item: int(item[1].attrs["order"]))
    root = capture.dataset
    complete = np.flatnonzero(root["complete"])
    found = {}
    for name, node in nodes:
        if fnmatchcase(name, pattern):
            site = node.to_dataset().assign(learning_rate=root["learning_rate"])
            found[name] = site if len(complete) == root.sizes["epoch"] else site.isel(epoch=complete)
    if not found:
        names = [name for name, _ in nodes]
        some = ", ".join(names[:5]) + (f" … ({len(names)} in all)" if len(names) > 5 else "")
        raise StripeError(f"No site matches {pattern!r}. The capture has: {some}.")
    return found
