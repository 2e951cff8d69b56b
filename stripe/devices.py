"""Choice of the device to compute on, and description of the machine."""

import os
import platform
from pathlib import Path

import torch
from torch import nn

from stripe import tuning
from stripe.errors import StripeError

__all__ = ["describe_machine", "device_of", "pick_device"]


def pick_device(name: str | None = None) -> torch.device:
    """Return the device of the given name, or the fastest available one.

    Args:
        name: Name of the device: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` …; by default an accelerator if there is one,
            else the CPU.

    Raises:
        StripeError: There is no such device.
    """
    if name is None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # not ``meta``, which holds no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise StripeError(
            f"There is no device {name!r} here ({str(error).splitlines()[0]}). Leave device= away."
        ) from error
    return device


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a network: that of its first parameter, and the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def describe_machine(device: torch.device) -> dict[str, str]:
    """Describe the machine, which belongs to every measured speed.

    Returns:
        A dictionary with ``device`` (``cpu``, ``cuda:0`` …), ``processor`` (name of the GPU; or of the CPU, with the
        numbers of torch's threads and of logical cores), ``torch``; for a CPU ``tuning``, what ``stripe.tuning`` set,
        if anything; and for an Nvidia GPU ``cuda`` and ``cudnn``.

    Example:
        >>> describe_machine(torch.device("cpu"))["device"]
        'cpu'
    """
    described = {"device": str(device), "processor": _processor(device), "torch": torch.__version__}
    if device.type == "cpu" and tuning.applied:
        described["tuning"] = ", ".join(tuning.applied)
    if device.type == "cuda" and torch.version.cuda:
        described |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
    return described


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"{_cpu_name()}, {threads} {'thread' if threads == 1 else 'threads'} of {os.cpu_count()}"
    return f"{device.type} of {_cpu_name()}"


def _cpu_name() -> str:
    """The name of the processor's model on Linux; elsewhere the name that Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
