"""A classifier's scores and their gradients, without asking its parameters for theirs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from stripe.adapter import check_weights, copy_model, isolated
from stripe.capture.unwrap import unwrap

__all__ = ["differentiable", "frozen"]


def differentiable(model: nn.Module) -> nn.Module:
    """The module underneath wrappers; a copy, where it was made in inference mode, which allows no gradients.

    Raises:
        StripeError: Its weights have no values, or it is TorchScript.
    """
    check_weights(model)
    model = unwrap(model)
    if not any(parameter.is_inference() for parameter in model.parameters()):
        return model
    with isolated():
        return copy_model(model)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within, gradients are computed, but not those of the parameters; afterwards they are asked for as before."""
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in asking:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
