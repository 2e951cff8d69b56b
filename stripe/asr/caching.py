"""Computing each attention value once a forward pass.

Weight and bias of a layer take the same v, and so do the layers of a group, but each asks for it by itself.
`torch.nn.utils.parametrize.cached` is no help: it keeps parametrized tensors, not what they share, and confuses a
model with its deep copies.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

__all__ = ["cached", "remember"]

Value = TypeVar("Value")

_depth = 0
_remembered: dict[nn.Module, Any] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Compute every ASR's value v(ψ, θ) at most once inside.

    In training around one forward pass (the loss's ``backward`` may follow outside); in evaluation around the whole
    pass over the data. Not around an optimiser's step: what was computed before it is kept. Without it nothing is
    wrong, only slower; a model without ASR does not mind it.

    Example:
        >>> from stripe import asr
        >>> from stripe.models import build
        >>> model = build("resnet11")
        >>> _ = asr.reparameterize(model)
        >>> with asr.cached():
        ...     logits = model(torch.rand(2, 3, 32, 32))
        >>> logits.sum().backward()
    """
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            _remembered.clear()


def remember(owner: nn.Module, compute: Callable[[], Value]) -> Value:
    """What ``compute`` gives, kept for ``owner`` until the outermost `cached` ends."""
    # The compiler sees that it is the same computation, and a dictionary would only break its graph.
    if not _depth or torch.compiler.is_compiling():
        return compute()
    if owner not in _remembered:
        _remembered[owner] = compute()
    value: Value = _remembered[owner]
    return value
