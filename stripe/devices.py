"""Choice of the device to compute on, and description of the machine."""

import os
import platform
from pathlib import Path

import torch
from torch import nn

from stripe import tuning
from stripe.errors import StripeError

__all__ = ["available_memory", "describe_machine", "device_of", "is_out_of_memory", "pick_device"]


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


def available_memory() -> int | None:
    """Bytes of memory that this process can still take: of the machine, and of its container; None: nobody says."""
    if not hasattr(os, "sysconf"):
        return None
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            limits.append(1024 * int(line.split()[1]))
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        numbers = [int(line) for path in (limit, used) for line in _lines(path)[:1] if line.isdigit()]
        if len(numbers) == 2:  # what files keep in memory is given back when it is wanted
            limits.append(numbers[0] - numbers[1] + _cached_files(Path(used).parent))
    return max(0, min(limits))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there was not enough memory; that of a CPU has no class of its own in torch."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "bad_alloc")
    )


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


def _lines(path: str | Path) -> list[str]:
    """Lines of a file of the system; none where there is no such file."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _cached_files(group: Path) -> int:
    """Bytes of files that a container keeps in memory."""
    words = (line.split() for line in _lines(group / "memory.stat"))
    return sum(int(value) for name, value in words if name in ("inactive_file", "active_file"))


def _cpu_name() -> str:
    """The name of the processor's model on Linux; elsewhere the name that Python knows."""
    lines = _lines("/proc/cpuinfo")
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
