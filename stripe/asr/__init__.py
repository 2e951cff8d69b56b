"""Attention-alike structural re-parameterization: attention that is a constant, and costs nothing after training.

Huang et al., "Stripe Observation Guided Inference Cost-free Attention Mechanism", ECCV 2024, equations 3–12:

    reparameterize(model)                     # where the paper puts it, or wherever you say
    with cached():                            # in the training loop, around the forward pass
        logits = model(images)
    plain = fuse(model)                       # the same outputs, the plain network's keys and speed
"""

from stripe.asr.cache import cached
from stripe.asr.fusion import fuse, values
from stripe.asr.insertion import reparameterize
from stripe.asr.official import translate
from stripe.asr.places import Places, known_places
from stripe.asr.restoring import prepare, restore
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
    "prepare",
    "reparameterize",
    "restore",
    "translate",
    "values",
]
