"""Calls of networks that we have never seen: in no mode of the caller's, on copies of the inputs, errors explained."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from stripe.adapter.batch import Batch, size_of
from stripe.errors import StripeError

__all__ = ["call", "eager", "explained", "isolated", "ours", "run"]

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def isolated() -> Iterator[None]:
    """Within, no inference mode and no autocast of the caller's are in force; a network's own are.

    Whether gradients are computed is for whoever runs the network to say.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            gradients = torch.is_grad_enabled()
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.set_grad_enabled(gradients))  # which leaving that mode switches on
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def eager() -> AbstractContextManager[Any]:
    """Within, ``torch.compile`` compiles nothing: hooks and modes see what runs in Python."""
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def ours(function: Callable[P, R]) -> Callable[P, R]:
    """Mark what a hook of ours raises, so that `run` does not blame the network for it."""

    @wraps(function)
    def marked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            error.raised_by_stripe = True  # type: ignore[attr-defined]
            raise

    return marked


def run(model: nn.Module, batch: Batch) -> Any:
    """Call a network with copies of a batch's inputs, which it may change, in no mode of the caller's.

    Args:
        model: The network, or whatever stands for it when it is called.
        batch: The batch, on its device and in its precision, see `Batch.on`.

    Returns:
        What the network returns.

    Raises:
        StripeError: The network raises something; the message has its words.

    Example:
        >>> import torch
        >>> run(torch.nn.Conv2d(3, 8, 3), batch_of(torch.rand(2, 3, 8, 8))).shape
        torch.Size([2, 8, 6, 6])
    """
    with isolated(), explained(model, batch):
        try:
            return call(model, _cloned(batch.inputs))
        except (TypeError, AttributeError) as error:
            # Most networks take no list; where the images have one size they can be given as one tensor.
            if getattr(error, "raised_by_stripe", False) or not isinstance(batch.inputs, list):
                raise
            if len({image.shape for image in batch.inputs}) > 1:
                raise StripeError(
                    f"{type(model).__name__} takes no list of images, and these have different sizes, such as "
                    f"{size_of(batch.inputs[0])} and {size_of(batch.inputs[-1])}. Give images of one size."
                ) from error
            return call(model, torch.stack(batch.inputs))


def call(model: Callable[..., Any], inputs: Any) -> Any:
    """Call a network with the inputs of a batch, by name where they are a dictionary."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def _cloned(inputs: Any) -> Any:
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, inputs)


@contextmanager
def explained(model: nn.Module, batch: Batch) -> Iterator[None]:
    """Whatever a network raises within becomes a sentence with its words; what a hook of ours raises is left alone.

    Raises:
        StripeError: The network raised something.
    """
    try:
        yield
    except StripeError:
        raise
    except Exception as error:  # anything may come out of somebody else's code
        if getattr(error, "raised_by_stripe", False):
            raise
        hint = "; take smaller batches" if isinstance(error, torch.OutOfMemoryError) else ""
        raise StripeError(
            f"{type(model).__name__} does not run on {batch.shape}: {type(error).__name__}: {error}{hint}"
        ) from error
