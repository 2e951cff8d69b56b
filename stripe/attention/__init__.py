"""Attention modules: one file each, pure torch, all of them ``forward(x) = x ⊙ gate(x)``.

A new one is one more file here with a class that ``register`` decorates; see there.
"""

from stripe.attention.base import Attention, ChainedAttention
from stripe.attention.blocks import BlockList
from stripe.attention.cbam import CBAM, ChannelGate, SpatialGate
from stripe.attention.combination import Combination
from stripe.attention.dia import DIA
from stripe.attention.eca import ECA
from stripe.attention.fca import FCA
from stripe.attention.grammar import attention, attention_factory, for_every_block
from stripe.attention.ie import IE
from stripe.attention.mvam import MVAM
from stripe.attention.registry import ATTENTION, register
from stripe.attention.se import SE
from stripe.attention.spa import SPA
from stripe.attention.spsa import SPSA
from stripe.attention.srm import SRM

__all__ = [
    "ATTENTION",
    "CBAM",
    "DIA",
    "ECA",
    "FCA",
    "IE",
    "MVAM",
    "SE",
    "SPA",
    "SPSA",
    "SRM",
    "Attention",
    "BlockList",
    "ChainedAttention",
    "ChannelGate",
    "Combination",
    "SpatialGate",
    "attention",
    "attention_factory",
    "for_every_block",
    "register",
]

ATTENTION.find()
# Classes of further files that register themselves have their names here, too.
globals().update({cls.__name__: cls for cls in ATTENTION.values() if cls.__module__.startswith(__name__)})
