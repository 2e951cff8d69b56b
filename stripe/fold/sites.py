"""Which sites can become constants: modules that do nothing but multiply their map by the gate."""

import copy
import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stripe.capture import Recorder, Site, discover
from stripe.capture.modes import as_input, evaluating, foreign_forward
from stripe.errors import StripeError
from stripe.models.constant_gate import replace_module

__all__ = ["Foldable", "find_foldable", "in_double", "same"]

logger = logging.getLogger(__name__)

PARENTS = 2
"""How many modules around the one that multiplies are tried, too."""

TOLERANCE = 1e-9
"""Of the outputs, relative, in float64: what is the same up to rounding."""


@dataclass(frozen=True)
class Foldable:
    """A site whose attention module a constant can take the place of.

    Attributes:
        site: As discovery found it.
        module: Path of the module that multiplies its only input by the gate.
        axis: Which axis of its map is the channel, from the end.
    """

    site: Site
    module: str
    axis: int


class _Replay(nn.Module):
    """Multiplies by a gate that was recorded, (N, C)."""

    def __init__(self, gate: Tensor, axis: int) -> None:
        super().__init__()
        self.gate, self.axis = gate, axis

    def forward(self, x: Tensor) -> Tensor:
        shape = [1] * x.ndim
        shape[0], shape[self.axis] = self.gate.shape
        return x * self.gate.view(shape)


def find_foldable(model: nn.Module, images: Tensor) -> tuple[list[Foldable], dict[str, str], list[Site]]:
    """Try each site: does the network stay the same when its module only multiplies by the gate as recorded?

    That is tried, not read from class names: in float64, for each image its own gate, the network's outputs must be the
    same. From the last site to the first, since attention may hand something on to later attention.

    Args:
        model: Any network; not changed.
        images: (N, 3, H, W), two images or more.

    Returns:
        The sites that can be folded, the reason for each that can't, and all that depend on the image; in the order of
        the forward pass.

    Raises:
        StripeError: The network has no attention, or does not run.
    """
    trial, images, tolerance = in_double(model, images)
    sites = [site for site in discover(trial, images) if site.input_dependent]
    if not sites:
        raise StripeError(
            "the network has no attention that depends on the image, so there is nothing to fold; ASR is fused by "
            "`stripe fuse`"
        )
    with evaluating(trial), torch.no_grad(), Recorder(trial, sites, record_input=False, dtype=images.dtype) as recorder:
        wanted = _output(trial, images)
        gates = {name: recorded.attention.to(images.device) for name, recorded in recorder.take().items()}
    runs = _count_runs(trial, images)
    found, reasons = [], {}
    for site in reversed(sites):
        reason = _refusal(site, runs)
        if reason is None:
            place = _try(trial, site, gates[site.name], images, wanted, runs, tolerance)
            if isinstance(place, Foldable):
                found.append(place)
                continue
            reason = place
        reasons[site.name] = reason
    return found[::-1], reasons, sites


def in_double(model: nn.Module, images: Tensor) -> tuple[nn.Module, Tensor, float]:
    """A copy in float64, in evaluation mode, the images likewise, and up to what outputs count as the same.

    A network that insists on another type stays in its own.
    """
    trial = copy.deepcopy(model).eval().requires_grad_(False)
    own = as_input(model, images)
    try:
        trial.double()
        with torch.no_grad():
            trial(images.double())
    except (RuntimeError, TypeError) as error:  # some accelerators have no float64
        logger.debug("the network does not run in float64: %s", error)
        return copy.deepcopy(model).eval().requires_grad_(False), own, 10 * torch.finfo(own.dtype).eps
    return trial, images.double(), TOLERANCE


def same(output: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Whether outputs are the same, relative to the largest."""
    if output.shape != wanted.shape:
        return False
    return bool((output - wanted).abs().max() <= tolerance * wanted.abs().max())


def _output(model: nn.Module, images: Tensor) -> Tensor:
    with foreign_forward(model, images), torch.no_grad():
        output = model(images)
    if not isinstance(output, Tensor):
        raise StripeError(f"the model returns a {type(output).__name__}; only one that returns a tensor can be folded")
    return output


def _count_runs(model: nn.Module, images: Tensor) -> dict[str, int]:
    runs = dict.fromkeys(dict(model.named_modules()), 0)

    def count(path: str) -> None:
        runs[path] += 1

    handles = [
        module.register_forward_pre_hook(lambda *_, path=path: count(path)) for path, module in model.named_modules()
    ]
    try:
        _output(model, images)
    finally:
        for handle in handles:
            handle.remove()
    return runs


def _refusal(site: Site, runs: dict[str, int]) -> str | None:
    """Why a site cannot be folded at all."""
    if site.kind != "channel":
        return f"a {site.kind} gate is no constant per channel"
    if site.shape[0] not in site.map_shape:
        return "its channels are in groups, which were put into the batch axis"
    if runs.get(site.module, 1) > 1:
        return f"{site.module} runs {runs[site.module]} times in one forward pass, with another mean each time"
    return None


def _try(
    model: nn.Module,
    site: Site,
    gate: Tensor,
    images: Tensor,
    wanted: Tensor,
    runs: dict[str, int],
    tolerance: float,
) -> Foldable | str:
    """Put a replay in the place of the site's module, or of one around it; it stays where that works."""
    path = site.module
    axes = [axis - len(site.map_shape) for axis, size in enumerate(site.map_shape) if size == site.shape[0]]
    for _ in range(PARENTS + 1):
        if not path or runs[path] != 1:
            break
        for axis in axes:
            old = replace_module(model, path, _Replay(gate, axis))
            try:
                with torch.no_grad():
                    output = model(images)
                if same(output, wanted, tolerance):
                    return Foldable(site, path, axis)
            except Exception as error:  # the module took or gave more than a map; any model may say so in its own way
                logger.debug("%s is more than a gate: %s", path, error)
            replace_module(model, path, old)
        path = path.rpartition(".")[0]
    return f"{site.module or 'the model'} does more than multiply its input by the gate"
