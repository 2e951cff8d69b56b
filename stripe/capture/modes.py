"""Running somebody else's model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stripe.errors import StripeError

__all__ = ["as_input", "foreign_forward"]


@contextmanager
def foreign_forward(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Whatever a model raises in its forward pass becomes a sentence.

    Raises:
        StripeError: The model raised something else than one.
    """
    try:
        yield
    except StripeError:
        raise
    except Exception as error:
        shape = "×".join(str(size) for size in images.shape)
        raise StripeError(
            f"{type(model).__name__} does not run on a batch of images of shape {shape} ({images.dtype}): "
            f"{type(error).__name__}: {error}"
        ) from error


def as_input(model: nn.Module, images: Tensor) -> Tensor:
    """Images in the precision of the model's weights, so that a half-precision model runs.

    Raises:
        StripeError: The images are no floating-point numbers.
    """
    if not images.is_floating_point():
        raise StripeError(
            f"The images are {images.dtype} and a model takes floating-point numbers: give preprocess=, such as "
            "lambda images: images / 255."
        )
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), images.dtype)
    return images.to(dtype) if dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64) else images
