"""What the benchmarks say of the machine, and how they wait for it."""

import os
import platform

import torch


def describe(device: torch.device) -> dict[str, object]:
    """The processor, its cores and the threads that torch uses, to be said beside every figure."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()}


def wait(device: torch.device) -> None:
    """Until the device has done all that it was told; a GPU works behind the caller's back."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interval(values: list[float]) -> list[float]:
    """The smallest and the largest of the rounds."""
    return [min(values), max(values)]
