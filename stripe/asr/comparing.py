"""How much fusing changed."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stripe.errors import StripeError

__all__ = ["Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """How far the outputs of two networks are from each other.

    Attributes:
        dtype: The precision in which they were computed, as ``float64``.
        largest: The largest absolute difference.
        relative: That, divided by the largest absolute output.
    """

    dtype: str
    largest: float
    relative: float


def compare(model: nn.Module, fused: nn.Module, images: Tensor, dtype: torch.dtype) -> Difference:
    """The largest difference between two networks' outputs for the same images, in evaluation mode.

    Args:
        model: A network; not changed.
        fused: Another; not changed.
        images: (N, 3, H, W), floating point.
        dtype: What to compute in; parameters are converted as they are.

    Raises:
        StripeError: They return no tensors, or not finite ones.
    """
    outputs = []
    for network in (model, fused):
        converted = copy.deepcopy(network).to(dtype).eval()
        with torch.inference_mode():
            output = converted(images.to(dtype))
        if not isinstance(output, Tensor):
            raise StripeError(f"the model returns a {type(output).__name__}; only a tensor can be compared")
        if not output.isfinite().all():
            raise StripeError("the model's outputs are not all finite, so nothing can be said about their difference")
        outputs.append(output.double())
    largest = float((outputs[0] - outputs[1]).abs().max())
    scale = float(outputs[0].abs().max())
    return Difference(str(dtype).removeprefix("torch."), largest, largest / scale if scale else largest)
