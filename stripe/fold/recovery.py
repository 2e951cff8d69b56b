"""Recovery of accuracy without labels: statistics of batch normalisation, biases, and constants that fit better."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from stripe.adapter import Batch, run
from stripe.fold.propagation import output_axis
from stripe.fold.sample import Sample
from stripe.fold.sites import Foldable
from stripe.models.dataflow import Call, follow
from stripe.models.frozen_norm import as_batch_norm
from stripe.models.surgery import ConstantGate
from stripe.modes import evaluating
from stripe.progress import track

__all__ = ["correct_biases", "reestimate", "refit"]


def reestimate(model: nn.Module, batches: Sample) -> int:
    """Estimate anew the mean and variance of each batch normalisation that runs after a constant gate, in place.

    Args:
        model: A network with `ConstantGate` modules.
        batches: The calibration images; the statistics become the means of those of the batches.

    Returns:
        How many layers.
    """
    norms = _norms_after_gates(model, batches.first().first(2))
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    with evaluating(model), torch.no_grad():
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean of all batches
                norm.train()
            for batch, _ in track(batches, "estimating batch statistics", total=len(batches)):
                if len(batch) > 1:  # one image has no variance
                    run(model, batch)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.eval()
    return len(norms)


def correct_biases(model: nn.Module, original: nn.Module, places: Sequence[Foldable], batches: Sample) -> int:
    """Give the next layers behind each constant gate the mean outputs that they had with attention, in place.

    The constant v̄ ignores that attention and map go together: E[x ⊙ v] ≠ E[x] ⊙ v̄. The difference of the next layers'
    mean outputs, per channel over images and positions, goes into their biases (Nagel et al., "Data-Free Quantization
    Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, do that for quantised weights). From the
    first site to the last, so that what was mended before is counted.

    Args:
        model: A network with constant gates.
        original: The same network with attention.
        places: The sites, in the order of the forward pass.
        batches: The calibration images.

    Returns:
        How many layers.
    """
    calls = follow(model, batches.first().first(2))
    next_layers = {place.module: _next_biased(calls, place.module) for place in places}
    every = sorted({layer for layers in next_layers.values() for layer in layers})
    if not every:
        return 0
    wanted = _means(original, every, batches)
    done: set[str] = set()
    for place in track(places, "correcting biases"):
        layers = [layer for layer in next_layers[place.module] if layer not in done]
        done |= set(layers)
        for layer, mean in _means(model, layers, batches).items() if layers else ():
            bias = model.get_submodule(layer).bias
            assert isinstance(bias, Tensor)
            with torch.no_grad():
                bias.add_((wanted[layer] - mean).to(bias))
    return len(done)


def _norms_after_gates(model: nn.Module, images: Batch) -> list[_BatchNorm]:
    seen, names = False, []
    for call in follow(model, images):
        module = model.get_submodule(call.module)
        seen |= isinstance(module, ConstantGate)
        if seen and isinstance(module, _BatchNorm) and module.track_running_stats and call.name == "batch_norm":
            names.append(call.module)
    found = [model.get_submodule(name) for name in dict.fromkeys(names)]
    return [norm for norm in found if isinstance(norm, _BatchNorm)]


def _next_biased(calls: Sequence[Call], gate: str) -> list[str]:
    """Paths of the first layers with a bias on each way from a gate."""
    found: dict[str, None] = {}
    reached = {id(output) for call in calls if call.module == gate for output in call.outputs}
    for call in calls:  # in the order of the forward pass, so each input was made before
        if call.module == gate or not any(id(value) in reached for value in call.inputs):
            continue
        biases = [value.owner[0] for value in call.inputs if value.owner and value.owner[1] == "bias"]
        if biases and output_axis(call) is not None:
            found[biases[0]] = None
        else:
            reached |= {id(output) for output in call.outputs}
    return list(found)


def _means(model: nn.Module, layers: Sequence[str], batches: Sample) -> dict[str, Tensor]:
    """Mean output of each layer, before an activation inside it, per channel over images and positions: float64."""
    with evaluating(model), torch.no_grad(), as_batch_norm(model), _Watcher(model, layers) as watcher:
        for batch, _ in batches:
            run(model, batch)
    return {layer: watcher.sums[layer] / watcher.counts[layer] for layer in layers}


class _Watcher(TorchFunctionMode):
    """Sums what the functions give that take the layers' biases."""

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self.names = {id(model.get_submodule(layer).bias): layer for layer in layers}
        self.sums: dict[str, Any] = dict.fromkeys(layers, 0)
        self.counts = dict.fromkeys(layers, 0)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = next((self.names[id(leaf)] for leaf in tree_leaves((args, kwargs)) if id(leaf) in self.names), None)
        if name is not None and isinstance(result, Tensor):
            axis = output_axis(Call(func.__name__, "", func, args, kwargs, []))
            if axis is not None:
                rows = result.movedim(axis, 0).flatten(1)
                self.sums[name] = self.sums[name] + rows.sum(1, dtype=torch.float64)
                self.counts[name] += rows.shape[1]
        return result


def refit(model: nn.Module, original: nn.Module, places: Sequence[Foldable], batches: Sample) -> int:
    """Give each constant gate the least-squares constant, in place.

    The mean weighs all images alike. What the layers behind see is the product x ⊙ a, whose squared error is least for

        v_c = Σ x_c² a_c / Σ x_c²,

    summed over images and positions: where the map is large, attention counts more.

    Args:
        model: A network with constant gates.
        original: The same network with attention.
        places: The sites.
        batches: The calibration images.

    Returns:
        How many constants; a channel whose map is zero everywhere keeps its mean.
    """
    fits = [_Fit(original.get_submodule(place.module), place.axis, len(place.shape)) for place in places]
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
    """Sums x² and x · y of a module that makes y of x, per channel; per branch and channel along two axes."""

    def __init__(self, module: nn.Module, axis: int, count: int) -> None:
        self.axis, self.count = axis, count
        self.squares = self.products = torch.zeros(())
        self.handles = [module.register_forward_pre_hook(self._before), module.register_forward_hook(self._after)]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _before(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.map = args[0].to(torch.float64, copy=True)  # the module may work in place

    def _after(self, _module: nn.Module, _args: Any, output: Tensor) -> None:
        last = output.ndim + self.axis
        axes = [axis for axis in range(output.ndim) if not last - self.count < axis <= last]
        self.squares = self.squares + self.map.square().sum(axes)
        self.products = self.products + (self.map * output).sum(axes)
        del self.map
