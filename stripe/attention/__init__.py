"""Attention modules: one file each, pure torch, all of them ``forward(x) = x ⊙ gate(x)``."""

from stripe.attention.base import Attention
from stripe.attention.cbam import CBAM, ChannelGate, SpatialGate
from stripe.attention.dia import DIA
from stripe.attention.eca import ECA
from stripe.attention.ie import IE
from stripe.attention.registry import ATTENTION, attention, attention_factory
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
    "ChannelGate",
    "SpatialGate",
    "attention",
    "attention_factory",
]
