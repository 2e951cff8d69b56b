"""Where ASR goes in networks that nobody has listed: the paper's rule, applied to the data flow.

"It is conventionally positioned subsequent to batch normalization and prior to the integration of residual connections
and ReLU" (Stripe Observation paper, appendix B.2).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from stripe.asr.branches import Flow, Group
from stripe.asr.targets import resolve
from stripe.errors import StripeError
from stripe.models.dataflow import follow

__all__ = ["Found", "apply_rule"]

SIDES = (224, 64, 32, 256, 299, 384, 128)  # pixels, tried where the network does not say what it takes


@dataclass(frozen=True)
class Found:
    """What the rule says of a network.

    Attributes:
        groups: Names of layers, in the order of the forward pass; those of a group share one ASR.
        tokens: Whether most branches are those of a transformer: tokens attend, and a linear layer comes last.
        note: Which half of the rule it was.
    """

    groups: list[Group]
    tokens: bool
    note: str


def apply_rule(model: nn.Module, images: Tensor | None = None) -> Found:
    """Find the last layer of each residual branch; where there is none, each normalisation before an activation.

    The network runs once, as a copy whose tensors hold no data; where that does not work, as it is, in evaluation mode.
    Only layers count whose weight is their own and used once, and none that does nothing but feed a gate.

    Args:
        model: Any network; as it was afterwards.
        images: What it takes, (N, C, H, W); None: as its configuration says, or what it turns out to take.

    Raises:
        StripeError: It does not run, or has no such layer.
    """
    flow = _run(model, images)
    groups = _usable(model, flow.residual, flow.order)
    note = "the last layer of each residual branch"
    if not groups:
        groups = _usable(model, flow.activated(), flow.order)
        note = "each normalisation in front of an activation, for there are no residual branches"
    if not groups:
        raise StripeError(
            "it has neither residual branches nor normalisations in front of activations that ASR can follow"
        )
    linear = sum(isinstance(model.get_submodule(group[0]), nn.Linear) for group in groups)
    return Found(groups, flow.attends and 2 * linear > len(groups), note)


def _usable(model: nn.Module, groups: list[Group], order: dict[str, int]) -> list[Group]:
    """Those that ASR can be fused into, each layer once, in the order in which they run."""
    found: list[Group] = []
    seen: set[str] = set()
    for group in groups:
        if seen.isdisjoint(group):
            try:
                resolve(model, [group])
            except StripeError:
                continue
            found.append(group)
            seen |= set(group)
    return sorted(found, key=lambda group: order[group[0]])


def _run(model: nn.Module, images: Tensor | None) -> Flow:
    reason: Exception | None = None
    shapes = [tuple(images.shape)] if images is not None else list(_shapes(model))
    real = images is not None or not any(tensor.is_meta for tensor in model.parameters())
    for without_data in (True, False) if real else (True,):
        for shape in shapes:
            try:
                return _without_data(model, shape) if without_data else _as_it_is(model, shape, images)
            except Exception as error:  # whatever a network raises about what it was given
                reason = reason or error
    shown = str(reason).strip().splitlines() or [type(reason).__name__]
    raise StripeError(f"it does not run on images of {shapes[0][-1]} pixels ({shown[0]})")


def _without_data(model: nn.Module, shape: tuple[int, ...]) -> Flow:
    """A copy with tensors that have shapes only: nothing is allocated, and the network keeps nothing of the pass."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    memo: dict[int, Any] = {}
    with fake:
        for module in model.modules():
            for tensor in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
                if isinstance(tensor, Tensor) and id(tensor) not in memo:
                    memo[id(tensor)] = _empty_like(tensor)
        skeleton = copy.deepcopy(model, memo)
        dtype = next((parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()), None)
        return Flow(follow(skeleton, torch.empty(shape, dtype=dtype)), skeleton)


def _empty_like(tensor: Tensor) -> Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _as_it_is(model: nn.Module, shape: tuple[int, ...], images: Tensor | None) -> Flow:
    first = next(iter(model.parameters()))
    given = torch.zeros(shape) if images is None else images
    return Flow(follow(model, given.to(first.device, first.dtype)), model)


def _shapes(model: nn.Module) -> Iterator[tuple[int, ...]]:
    """(N, C, H, W) to be tried, the likeliest first."""
    channels = next((layer.in_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)), 3)
    sides = [side for side in (*_sides(model), *SIDES) if side]
    yield from ((2, channels, side, side) for side in dict.fromkeys(sides))


def _sides(model: nn.Module) -> Iterator[int]:
    """What timm and torchvision write down."""
    for module in model.modules():
        for size in (getattr(module, "img_size", None), getattr(module, "image_size", None)):
            side = size[-1] if isinstance(size, tuple | list) and size else size
            if isinstance(side, int):
                yield side
    config = getattr(model, "pretrained_cfg", None) or {}
    size = config.get("input_size") if isinstance(config, dict) else None
    if size:
        yield int(size[-1])
