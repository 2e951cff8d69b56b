"""Capture: find where a model multiplies a map by a gate, record the gates, keep them in a labelled file.

Knows nothing of our models, our data or ASR; works on any ``torch.nn.Module``.
"""

from stripe.capture.layout import Epoch
from stripe.capture.loading import Loader
from stripe.capture.reader import open_capture, site_names
from stripe.capture.recorder import Recorded, Recorder
from stripe.capture.session import CaptureSession, capture, no_attention, select_sites
from stripe.capture.sites import Site, discover
from stripe.capture.unbuilt import discover_unbuilt

__all__ = [
    "CaptureSession",
    "Epoch",
    "Loader",
    "Recorded",
    "Recorder",
    "Site",
    "capture",
    "discover",
    "discover_unbuilt",
    "no_attention",
    "open_capture",
    "select_sites",
    "site_names",
]
