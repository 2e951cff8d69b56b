"""stripe: shows whether a vision network's attention is a constant and, where it is, makes it free."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

try:
    __version__ = version("stripe-observation")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

_LAYERS = ("analysis", "attention", "capture", "data", "models", "plots", "training")


def __getattr__(name: str) -> ModuleType:
    """Import a layer when it is first asked for, so that ``import stripe`` and ``stripe --help`` stay cheap."""
    if name in _LAYERS:
        return importlib.import_module(f"stripe.{name}")
    raise AttributeError(f"module 'stripe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAYERS]
