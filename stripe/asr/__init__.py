"""Attention-alike structural re-parameterization (ASR): constant attention, which costs nothing after training.

Huang et al., "Stripe Observation Guided Inference Cost-free Attention Mechanism", ECCV 2024, equations 3–12:

    reparameterize(model)                     # where the paper puts it, or wherever you say
    with cached():                            # in the training loop, around the forward pass
        logits = model(images)
    plain = fuse(model)                       # the same outputs, the plain network's keys and speed
"""

import importlib
from typing import Any

from stripe.asr.cache import cached
from stripe.asr.fusion import fuse, values
from stripe.asr.insertion import reparameterize
from stripe.asr.places import Places, known_places
from stripe.asr.value import ASR
from stripe.export import EXPORTS, Difference, compare, export

__all__ = [
    "ASR",
    "EXPORTS",
    "Difference",
    "Places",
    "cached",
    "compare",
    "export",
    "fuse",
    "known_places",
    "reparameterize",
    "restore",
    "values",
]


def __getattr__(name: str) -> Any:
    """Give access to ``restore``, a name of the first release that moved up to ``stripe.checkpoint``."""
    if name == "restore":
        return importlib.import_module("stripe.checkpoint").restore
    raise AttributeError(f"module 'stripe.asr' has no attribute {name!r}")
