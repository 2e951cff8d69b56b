"""Checkpoints of ours (safetensors that describe their model) and of others, and their networks."""

from stripe.checkpoint.files import find, names_moment, same_weights, without_copies
from stripe.checkpoint.format import save
from stripe.checkpoint.loader import load_into
from stripe.checkpoint.official import translate
from stripe.checkpoint.reader import Checkpoint, epoch_of, read
from stripe.checkpoint.restoration import prepare, restore

__all__ = [
    "Checkpoint",
    "epoch_of",
    "find",
    "load_into",
    "names_moment",
    "prepare",
    "read",
    "restore",
    "same_weights",
    "save",
    "translate",
    "without_copies",
]
