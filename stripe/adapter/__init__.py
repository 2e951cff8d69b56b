"""The one way in which networks are called: batches of any form in, outputs of any form out.

Loaders give tensors, pairs, lists of images of different sizes or dictionaries; networks give logits, tuples,
dictionaries or dataclasses. Everything that runs a network that it has never seen does it through this module, so that
each form is understood in one place, no mode of the caller's leaks into the network, and the caller's tensors stay as
they are.
"""

from stripe.adapter.batch import Batch, batch_of, tensors_in
from stripe.adapter.calls import call, eager, explained, isolated, ours, run
from stripe.adapter.outputs import class_scores, logits_of, tensors_of
from stripe.adapter.weights import check_weights, copy_model

__all__ = [
    "Batch",
    "batch_of",
    "call",
    "check_weights",
    "class_scores",
    "copy_model",
    "eager",
    "explained",
    "isolated",
    "logits_of",
    "ours",
    "run",
    "tensors_in",
    "tensors_of",
]
