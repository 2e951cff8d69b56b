"""Description of the machine, and waiting for its device, in the benchmarks."""

import os
import platform

import torch


def describe(device: torch.device) -> dict[str, object]:
    """Describe the processor, its cores and torch's threads, which belong to every result."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()}


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work, as a GPU computes asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interval(values: list[float]) -> list[float]:
    """Return the smallest and the largest value of the rounds."""
    return [min(values), max(values)]
