"""Calls of unknown networks, with batches of any form and outputs of any form.

Loaders give tensors, pairs, lists of images of different sizes or dictionaries; networks give logits, tuples,
dictionaries or dataclasses. All code that runs a network of the user calls it through this package, so that each form
is handled in one place, no mode of the caller affects the network, and the caller's tensors are not changed.
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
