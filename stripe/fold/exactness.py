"""Whether two networks compute the same: their outputs, in float64."""

import copy
import logging

import torch
from torch import Tensor, nn

from stripe.capture.modes import as_input, foreign_forward

__all__ = ["in_double", "same"]

logger = logging.getLogger(__name__)

TOLERANCE = 1e-9
"""Of the outputs, relative, in float64: what is the same up to rounding."""


def in_double(model: nn.Module, images: Tensor) -> tuple[nn.Module, Tensor, float]:
    """A copy in float64, in evaluation mode, the images likewise, and up to what outputs count as the same.

    A network that insists on another type stays in its own.
    """
    own = copy.deepcopy(model).eval().requires_grad_(False)
    images = as_input(own, images)
    with foreign_forward(own, images), torch.no_grad():
        own(images)
    try:
        trial = copy.deepcopy(own).double()
        with torch.no_grad():
            trial(images.double())
    except Exception as error:  # some accelerators have no float64, some networks insist on another type
        logger.debug("the network does not run in float64: %s", error)
        return own, images, 10 * torch.finfo(images.dtype).eps
    return trial, images.double(), TOLERANCE


def same(output: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Whether outputs are the same, relative to the largest."""
    if output.shape != wanted.shape:
        return False
    return bool((output - wanted).abs().max() <= tolerance * wanted.abs().max())
