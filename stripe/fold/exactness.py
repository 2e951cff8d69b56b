"""Whether two networks compute the same: their outputs, in float64."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stripe.adapter import Batch, batch_of, copy_model, run, tensors_of
from stripe.fold.proposals import Selections
from stripe.models.dataflow import follow

__all__ = ["Trial", "same"]

logger = logging.getLogger(__name__)

TOLERANCE = 1e-9
"""Of the outputs, relative, in float64: what is the same up to rounding."""


class Trial:
    """A copy of a network to try changes on: in float64, in evaluation mode.

    A network that insists on another type stays in its own, and one that computes in a lower precision in between, or
    rounds its outputs to one, is judged by that precision. Of a detector, what it selects boxes by is compared, too,
    before and after non-maximum suppression, see `stripe.fold.proposals`.

    Args:
        model: The network; not changed.
        images: (N, 3, H, W), or a batch of another form.

    Attributes:
        model: The copy.
        batch: The images, likewise.
        wanted: What it returns for them before anything is changed.

    Raises:
        StripeError: The network does not run.
    """

    def __init__(self, model: nn.Module, images: Tensor | Batch) -> None:
        self.model = copy_model(model).eval().requires_grad_(False)
        self.batch = batch_of(images, model).on(self.model)
        with torch.no_grad():
            run(self.model, self.batch)
            try:
                double = copy_model(self.model).double()
                batch = self.batch.map(Tensor.double).on(double)
                precision = _precision(double, batch)
                self.model, self.batch = double, batch
            except Exception as error:  # some accelerators have no float64, some networks insist on another type
                logger.debug("the network does not run in float64: %s", error)
                precision = _precision(self.model, self.batch)
        self.tolerance = max(TOLERANCE, 10 * precision)
        self.selections = Selections()
        with self.selections.first(self.model):
            self.wanted = self.outputs()

    def outputs(self) -> list[Tensor]:
        """All floating-point tensors that the copy returns for the images, as it is now."""
        with torch.no_grad():
            return [tensor for tensor in tensors_of(run(self.model, self.batch)) if tensor.is_floating_point()]

    def is_unchanged(self) -> bool:
        """Whether the copy returns what it did before anything was changed, and selects by the same values on the way.

        Raises:
            StripeError: It does not run any more.
        """
        with self.selections.again(self.model) as judged:
            outputs = self.outputs()
        first = self.selections.judged
        return same(outputs, self.wanted, self.tolerance) and all(
            same(judged[key], first[key], self.tolerance) for key in first.keys() & judged.keys()
        )


def same(outputs: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> bool:
    """Whether outputs are the same, each relative to its largest value."""
    return len(outputs) == len(wanted) and all(
        got.shape == other.shape and bool((got - other).abs().max() <= tolerance * other.abs().max())
        for got, other in zip(outputs, wanted, strict=True)
        if other.numel()
    )


def _precision(model: nn.Module, batch: Batch) -> float:
    """The machine epsilon of the coarsest type that a network computes in of its images."""
    made = (value.tensor for call in follow(model, batch) for value in call.outputs if not value.constant)
    return max((torch.finfo(tensor.dtype).eps for tensor in made if tensor.is_floating_point()), default=0.0)
