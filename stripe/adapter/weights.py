"""Weights of a network: a check that they have values, and copies."""

import copy
from typing import TypeVar

from torch import nn

from stripe.errors import StripeError

__all__ = ["check_weights", "copy_model"]

Network = TypeVar("Network", bound=nn.Module)


def check_weights(model: nn.Module) -> None:
    """Check that the weights of a network have values.

    Raises:
        StripeError: Weights are on the meta device, or are only made when the network runs for the first time.
    """
    if not isinstance(model, nn.Module):
        raise StripeError(f"a {type(model).__name__} is no network; give a torch.nn.Module")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise StripeError(f"{name} has no shape before the network has run once; call it on a batch, and train it")
        if tensor.is_meta:
            raise StripeError(f"{name} is on the meta device, which holds no values; load the weights first")


def copy_model(model: Network) -> Network:
    """Make a deep copy of a network, which shares parts that cannot be copied (a lock, an open file).

    Raises:
        StripeError: The network cannot be copied even so.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:  # anything may refuse to be copied in its own way
        reason = error
    shared = {}
    for module in model.modules():
        for name, value in vars(module).items():
            if name in ("_parameters", "_buffers", "_modules"):
                continue
            try:
                copy.deepcopy(value)
            except Exception:
                # The copy has containers (such as hooks) of its own, but shares their contents.
                shared[id(value)] = copy.copy(value) if isinstance(value, dict | list | set) else value
    try:
        return copy.deepcopy(model, shared)
    except Exception:
        raise StripeError(
            f"{type(model).__name__} cannot be copied ({type(reason).__name__}: {reason}), and the network itself is "
            "not changed. Give it a __deepcopy__, or build it anew and load its weights"
        ) from reason
