"""Constants that come closer to what attention does to the maps than its mean."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stripe.adapter import run
from stripe.fold.batches import Batches
from stripe.fold.sites import Foldable
from stripe.models.surgery import ConstantGate
from stripe.modes import evaluating
from stripe.progress import track

__all__ = ["refit"]


def refit(model: nn.Module, original: nn.Module, places: Sequence[Foldable], batches: Batches) -> int:
    """Give each constant gate the least-squares constant, in place.

    The mean weighs all images alike. What the layers behind see is the product x ⊙ a, whose squared error is least for

        v_c = Σ x_c² a_c / Σ x_c²,

    summed over images and positions: where the map is large, attention counts more.

    Args:
        model: With constant gates.
        original: The same with attention.
        places: The sites.
        batches: The calibration images.

    Returns:
        How many constants; a channel whose map is zero everywhere keeps its mean.
    """
    fits = [_Fit(original.get_submodule(place.module), place.axis) for place in places]
    try:
        with evaluating(original), torch.no_grad():
            for batch, _ in track(batches, "fitting constants", total=len(batches)):
                run(original, batch)
    finally:
        for fit in fits:
            fit.remove()
    for place, fit in zip(places, fits, strict=True):
        gate = model.get_submodule(place.module)
        assert isinstance(gate, ConstantGate)
        with torch.no_grad():
            gate.weight.copy_(torch.where(fit.squares > 0, fit.products / fit.squares, gate.weight.double()))
    return len(fits)


class _Fit:
    """Sums x² and x · y of a module that makes y of x, per channel."""

    def __init__(self, module: nn.Module, axis: int) -> None:
        self.axis = axis
        self.squares = self.products = torch.zeros(())
        self.handles = [module.register_forward_pre_hook(self._before), module.register_forward_hook(self._after)]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _before(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.map = args[0].to(torch.float64, copy=True)  # the module may work in place

    def _after(self, _module: nn.Module, _args: Any, output: Tensor) -> None:
        axes = [axis for axis in range(output.ndim) if axis != output.ndim + self.axis]
        self.squares = self.squares + self.map.square().sum(axes)
        self.products = self.products + (self.map * output).sum(axes)
        del self.map
