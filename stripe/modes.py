"""Evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within; afterwards every module is in the mode that it was in before, one by one."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        # Through train(), parents first: some modules do something there (merge weights, clear a cache).
        for module, training in modes.items():
            if module.training != training:
                module.train(training)
