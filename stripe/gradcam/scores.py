"""A classifier's scores, computed without asking its parameters for gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stripe.errors import StripeError

__all__ = ["check_scores", "frozen"]


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


def check_scores(scores: Any, images: Tensor) -> Tensor:
    """The scores (N, K) of a classifier.

    Raises:
        StripeError: The model gave something else.
    """
    if isinstance(scores, Tensor) and scores.ndim == 2 and len(scores) == len(images):
        return scores
    given = f"a tensor of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
    raise StripeError(
        f"Grad-CAM needs a classifier, which gives scores of shape (images, classes); for {len(images)} images this "
        f"model gives {given}. Wrap it in a module that returns the scores alone."
    )
