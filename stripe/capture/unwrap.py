"""Removal of the wrappers around a module, and refusal of modules that hooks cannot see into."""

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from stripe.errors import StripeError

__all__ = ["unwrap"]


def unwrap(model: nn.Module) -> nn.Module:
    """Return the plain module under ``DataParallel``, ``DistributedDataParallel`` and ``torch.compile``.

    Args:
        model: Any module.

    Raises:
        StripeError: Part of the model is TorchScript, which runs without calling Python.
    """
    while True:
        if isinstance(model, DataParallel | DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):  # torch.compile
            model = model._orig_mod  # type: ignore[assignment]
        else:
            break
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule | torch.jit.ScriptFunction):
            raise StripeError(
                f"{name or 'the model'} is TorchScript, which runs outside Python, so its multiplications can't be "
                "seen. Build the model from its Python code and load the weights with load_state_dict."
            )
    return model
