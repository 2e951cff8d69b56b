"""How much fusing changed."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stripe.adapter import batch_of, copy_model, isolated, logits_of, run
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


@isolated()
def compare(model: nn.Module, fused: nn.Module, images: Tensor, dtype: torch.dtype) -> Difference:
    """The largest difference between two networks' outputs for the same images, in evaluation mode.

    Args:
        model: A network; not changed.
        fused: Another; not changed.
        images: (N, 3, H, W), floating point.
        dtype: What to compute in; parameters are converted as they are.

    Raises:
        StripeError: They do not run, or return no tensors, or not finite ones.
    """
    outputs = []
    for network in (model, fused):
        converted = copy_model(network).to(dtype).eval()
        with torch.no_grad():
            result = run(converted, batch_of(images.to(dtype), converted))
        output = logits_of(result)
        if output is None:
            raise StripeError(f"the model returns a {type(result).__name__}; only a tensor can be compared")
        if not output.isfinite().all():
            raise StripeError("the model's outputs are not all finite, so nothing can be said about their difference")
        outputs.append(output.double())
    largest = float((outputs[0] - outputs[1]).abs().max())
    scale = float(outputs[0].abs().max())
    return Difference(str(dtype).removeprefix("torch."), largest, largest / scale if scale else largest)
