"""Capture: find where a model multiplies a map by a gate, record the gates, and keep them in a labelled file.

This package works on any ``torch.nn.Module`` and knows nothing of our models, our data or ASR. Reading a capture does
not import torch: the names that record one are looked up when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stripe.capture.opened import Capture, CaptureLike, LayerFacts, SiteFacts, as_capture, site_names
from stripe.capture.reader import open_capture

if TYPE_CHECKING:
    from stripe.capture.layout import Control, Epoch
    from stripe.capture.loader import Loader
    from stripe.capture.recorder import Recorded, Recorder
    from stripe.capture.session import CaptureSession, capture, no_attention, select_sites
    from stripe.capture.sites import Site, discover
    from stripe.capture.unbuilt import discover_unbuilt
else:
    _HOMES = {
        "layout": ("Control", "Epoch"),
        "loader": ("Loader",),
        "recorder": ("Recorded", "Recorder"),
        "session": ("CaptureSession", "capture", "no_attention", "select_sites"),
        "sites": ("Site", "discover"),
        "unbuilt": ("discover_unbuilt",),
    }

    def __getattr__(name: str) -> Any:
        for module, names in _HOMES.items():
            if name in names:
                return getattr(import_module(f"stripe.capture.{module}"), name)
        raise AttributeError(f"module 'stripe.capture' has no attribute {name!r}")


__all__ = [
    "Capture",
    "CaptureLike",
    "CaptureSession",
    "Control",
    "Epoch",
    "LayerFacts",
    "Loader",
    "Recorded",
    "Recorder",
    "Site",
    "SiteFacts",
    "as_capture",
    "capture",
    "discover",
    "discover_unbuilt",
    "no_attention",
    "open_capture",
    "select_sites",
    "site_names",
]
