"""Checkpoints: ours (safetensors that describe their model) and everybody else's state dicts."""

from stripe.models.checkpoint.finding import find, names_moment, same_weights, without_copies
from stripe.models.checkpoint.fitting import load_into
from stripe.models.checkpoint.reading import Checkpoint, epoch_of, read
from stripe.models.checkpoint.writing import save

__all__ = [
    "Checkpoint",
    "epoch_of",
    "find",
    "load_into",
    "names_moment",
    "read",
    "same_weights",
    "save",
    "without_copies",
]
