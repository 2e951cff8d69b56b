"""Calls of unknown networks: without the caller's modes, on copies of the inputs, and with errors explained."""

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
    """A context that suspends the caller's inference mode and autocast; a network may still use its own.

    Whether gradients are computed is not changed.
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
    """A context in which ``torch.compile`` compiles nothing, so that hooks and modes see everything in Python."""
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def ours(function: Callable[P, R]) -> Callable[P, R]:
    """Mark the exceptions of one of our hooks, so that ``run`` does not attribute them to the network."""

    @wraps(function)
    def marked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            error.raised_by_stripe = True  # type: ignore[attr-defined]
            raise

    return marked


def run(model: nn.Module, batch: Batch) -> Any:
    """Call a network with copies of a batch's inputs, without the caller's inference mode and autocast.

    The network may change the copies.

    Args:
        model: The network, or a callable that stands for it.
        batch: The batch, on the device and in the precision of the network; see ``Batch.on``.

    Returns:
        The output of the network.

    Raises:
        StripeError: The network raises an exception, whose text is in the message.

    Example:
        >>> import torch
        >>> run(torch.nn.Conv2d(3, 8, 3), batch_of(torch.rand(2, 3, 8, 8))).shape
        torch.Size([2, 8, 6, 6])
    """
    with isolated(), explained(model, batch):
        try:
            return call(model, _cloned(batch.inputs))
        except (TypeError, AttributeError) as error:
            # Most networks take no list; images of one size can be given as one tensor instead.
            if getattr(error, "raised_by_stripe", False) or not isinstance(batch.inputs, list):
                raise
            if len({image.shape for image in batch.inputs}) > 1:
                raise StripeError(
                    f"{type(model).__name__} takes no list of images, and these have different sizes, such as "
                    f"{size_of(batch.inputs[0])} and {size_of(batch.inputs[-1])}. Give images of one size, or batches "
                    "of one image."
                ) from error
            return call(model, torch.stack(batch.inputs))


def call(model: Callable[..., Any], inputs: Any) -> Any:
    """Call a network with the inputs of a batch; a dictionary is passed as keyword arguments."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def _cloned(inputs: Any) -> Any:
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, inputs)


@contextmanager
def explained(model: nn.Module, batch: Batch) -> Iterator[None]:
    """A context that turns exceptions of a network into a sentence; those of our own hooks are left alone.

    Raises:
        StripeError: The network raised an exception, whose text is in the message.
    """
    try:
        yield
    except StripeError:
        raise
    except Exception as error:  # anything may come out of somebody else's code
        if getattr(error, "raised_by_stripe", False):
            raise
        hint = "; take smaller batches" if isinstance(error, torch.OutOfMemoryError) else ""
        if "more than 1 value per channel" in str(error):  # batch normalisation of a map of one pixel
            hint = "; it has no statistics of one value: take batches of 2 images at least, as batch_size=2"
        raise StripeError(
            f"{type(model).__name__} does not run on {batch.shape}: {type(error).__name__}: {error}{hint}"
        ) from error
