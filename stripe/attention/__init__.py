"""Attention modules: one file each, pure torch, all of them ``forward(x) = x ⊙ gate(x)``.

A new one is one more file here with a class that ``register`` decorates; see there.
"""

from stripe.attention.base import Attention, ChainedAttention
from stripe.attention.cbam import CBAM, ChannelGate, SpatialGate
from stripe.attention.dia import DIA
from stripe.attention.eca import ECA
from stripe.attention.ie import IE
from stripe.attention.registry import ATTENTION, attention, attention_factory, register
from stripe.attention.se import SE
from stripe.attention.spa import SPA
from stripe.attention.srm import SRM

__all__ = [
    "ATTENTION",
    "CBAM",
    "DIA",
    "ECA",
    "IE",
    "SE",
    "SPA",
    "SRM",
    "Attention",
    "ChainedAttention",
    "ChannelGate",
    "SpatialGate",
    "attention",
    "attention_factory",
    "register",
]

ATTENTION.find()
# Classes of further files that register themselves have their names here, too.
globals().update({cls.__name__: cls for cls in ATTENTION.values() if cls.__module__.startswith(__name__)})
