"""Outputs of any form: the logits and the tensors in them."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from stripe.errors import StripeError

__all__ = ["class_scores", "logits_of", "tensors_of"]

# Names of the entry or attribute of an output that holds the logits.
LOGIT_KEYS = ("logits", "out", "output", "scores", "pred", "predictions", "head", "main")


def logits_of(output: Any) -> Tensor | None:
    """Find the tensor of a network's output that holds its logits; None if there is none.

    This is the output itself if it is a tensor. In a dictionary, a dataclass or a named tuple it is the entry
    ``logits``, ``out``, ``output`` …; without such an entry, and in a plain tuple, it is the first tensor.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        entries = dict(output)
    elif is_dataclass(output) and not isinstance(output, type):
        entries = {field.name: getattr(output, field.name) for field in fields(output)}
    elif hasattr(output, "_asdict"):
        entries = output._asdict()
    elif isinstance(output, tuple | list):
        entries = dict(enumerate(output))
    else:
        entries = {key: getattr(output, key) for key in LOGIT_KEYS if isinstance(getattr(output, key, None), Tensor)}
    for key in LOGIT_KEYS:
        if isinstance(entries.get(key), Tensor):
            return entries[key]  # type: ignore[no-any-return]
    return next((found for entry in entries.values() if (found := logits_of(entry)) is not None), None)


def tensors_of(output: Any) -> list[Tensor]:
    """Collect all tensors in a network's output, whatever container holds them."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif is_dataclass(output) and not isinstance(output, type):
        parts = [getattr(output, field.name) for field in fields(output)]
    elif isinstance(output, tuple | list | set | frozenset):
        parts = list(output)
    else:
        parts = list(getattr(output, "__dict__", {}).values())
    return [tensor for part in parts for tensor in tensors_of(part)]


def class_scores(output: Any, count: int) -> Tensor:
    """Return the logits of a classifier with one column per class.

    One logit l per image is a yes/no classifier: its columns are (−l/2, l/2), whose softmax is (1 − σ(l), σ(l)). So
    class 1 is predicted if l > 0, and the cross-entropy is the usual binary one.

    Args:
        output: Output of the network.
        count: Number of images N.

    Returns:
        Logits (N, K) with K ≥ 2.

    Raises:
        StripeError: The output holds no logits of N images.
    """
    scores = logits_of(output)
    if scores is not None and scores.ndim == 1 and len(scores) == count:
        scores = scores[:, None]
    if scores is not None and scores.ndim == 2 and len(scores) == count and scores.is_floating_point():
        return torch.cat([-scores / 2, scores / 2], 1) if scores.shape[1] == 1 else scores
    given = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    if isinstance(scores, Tensor) and not isinstance(output, Tensor):
        given += f" in which a tensor of shape {tuple(scores.shape)} could be meant"
    if scores is not None and not scores.is_floating_point():
        given += f" of {scores.dtype}"
    raise StripeError(
        f"a classifier gives scores of shape (images, classes); for {count} images this model gives {given}. "
        "Wrap it in a module that returns the scores alone"
    )
