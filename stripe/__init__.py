"""stripe: shows whether a vision network's attention is a constant and, where it is, makes it free."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING

from stripe import tuning

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

try:
    __version__ = version("stripe-observation")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0.0.0"

tuning.apply()  # before anything imports torch

_LAYERS = (
    "analysis",
    "attention",
    "callbacks",
    "capture",
    "checkpoint",
    "data",
    "fold",
    "gradcam",
    "models",
    "plots",
    "report",
    "training",
)


def load(path: "str | Path", model: "nn.Module | None" = None) -> "nn.Module":
    """Load the network of a checkpoint of ours, with the ASR or the folded attention that it was saved with.

    Args:
        path: Path of a trained, fused or folded checkpoint, ``….safetensors``; nothing in it is unpickled or run.
        model: Network before training, fusing or folding. It is needed if the network was built from your own code
            (``python:``), which a file must not run. It is changed in place, so make a new one for each file.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        StripeError: The file is damaged, does not describe its model, or does not fit it.

    Example:
        >>> import stripe
        >>> model = stripe.load("folded.safetensors")  # doctest: +SKIP
    """
    from stripe import checkpoint

    return checkpoint.restore(checkpoint.read(path), model).eval()


def __getattr__(name: str) -> ModuleType:
    """Import a subpackage when it is first used, so that ``import stripe`` and ``stripe --help`` are fast."""
    if name in _LAYERS:
        return importlib.import_module(f"stripe.{name}")
    raise AttributeError(f"module 'stripe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAYERS]
