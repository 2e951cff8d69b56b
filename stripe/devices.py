"""Which device to compute on."""

import torch

from stripe.errors import StripeError

__all__ = ["pick_device"]


def pick_device(name: str | None = None) -> torch.device:
    """The device of that name, or the best there is.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` …; None: an accelerator where there is one, else the CPU.

    Raises:
        StripeError: There is no such device.
    """
    if name is None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # not `meta`, which holds no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise StripeError(
            f"There is no device {name!r} here ({str(error).splitlines()[0]}). Leave --device away."
        ) from error
    return device
