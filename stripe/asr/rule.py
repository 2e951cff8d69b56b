"""Places of ASR in unknown networks: the paper's rule, applied to the data flow.

"It is conventionally positioned subsequent to batch normalization and prior to the integration of residual connections
and ReLU" (Stripe Observation paper, appendix B.2).
"""

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from stripe.asr.branches import Flow, Group
from stripe.asr.layers import has_asr, resolve
from stripe.errors import StripeError
from stripe.models.dataflow import follow

__all__ = ["Found", "apply_rule"]

Shape = tuple[int, ...]

SIDES = (224, 64, 32, 256, 299, 384, 128)  # pixels, tried if the network does not tell its image size


@dataclass(frozen=True)
class Found:
    """Places that the rule finds in a network.

    Attributes:
        groups: Groups of names of layers, in the order of the forward pass; the layers of a group share one ASR.
        tokens: Whether most branches are those of a transformer: tokens attend, and a linear layer comes last.
        note: The part of the rule that was applied, in words.
    """

    groups: list[Group]
    tokens: bool
    note: str


def apply_rule(model: nn.Module, images: Tensor | None = None) -> Found:
    """Find the last layer of each residual branch; without such branches, each normalisation before an activation.

    Both are taken if most of the network is outside of residual branches (lightweight networks with one or two of
    them). If there is neither, the last layer of each branch that is concatenated with its input is taken.

    The network runs once, as a copy whose tensors hold no data or, if that fails, as it is in evaluation mode. A layer
    is considered only if its weight is not shared and is used once, and if it does not only feed a gate.

    Args:
        model: Any network; it is not changed.
        images: Images (N, C, H, W) to run it on; by default random ones of the size in its configuration, or of a size
            that it accepts.

    Raises:
        StripeError: The network does not run, or has no such layer.
    """
    present = [name for name, layer in model.named_modules() if has_asr(layer)]
    if present:
        raise StripeError(f"{present[0]} already has ASR; several at one place are copies=2, 3 …")
    flow = _run(model, images)
    branches = _usable(model, flow.residual, flow.order)
    outside = _usable(model, flow.activated, flow.order)
    groups, note = branches, "the last layer of each residual branch"
    if not branches:
        groups, note = outside, "each normalisation in front of an activation, for there are no residual branches"
    elif len(outside) > 2 * len(branches):
        groups = _usable(model, branches + outside, flow.order)
        note += ", and outside of them, which most of it is, each normalisation in front of an activation"
    if not groups:
        groups = _usable(model, flow.appended, flow.order)
        note = "the last layer of each branch that is concatenated with its input, for nothing else is to be had"
    if not groups:
        raise StripeError(
            "it has neither residual branches nor normalisations in front of activations that ASR can follow"
        )
    linear = sum(isinstance(model.get_submodule(group[0]), nn.Linear) for group in groups)
    return Found(groups, flow.attends and 2 * linear > len(groups), note)


def _usable(model: nn.Module, groups: list[Group], order: dict[str, int]) -> list[Group]:
    """The groups that ASR can be fused into, each layer once, in the order in which they run."""
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
    """Run the network, trying the fastest way first: meta tensors, then fake tensors, then real ones."""
    first: Exception | None = None
    shapes = [tuple(images.shape)] if images is not None else list(_shapes(model))
    ways = [_of_shapes(model, meta=True), _of_shapes(model, meta=False)]
    if not any(tensor.is_meta for tensor in model.parameters()):
        ways.append(_as_it_is(model, images))
    for run in ways:
        for shape in shapes:
            try:
                with torch.inference_mode(False):  # in inference mode changes of tensors are not counted
                    return run(shape)
            except Exception as error:  # a network may raise anything about its input
                first = first or error
    shown = str(first).strip().splitlines() or [type(first).__name__]
    raise StripeError(f"it does not run on images of {shapes[0][-1]} pixels ({shown[0]})")


def _of_shapes(model: nn.Module, *, meta: bool) -> Callable[[Shape], Flow]:
    """Return a function that runs a copy whose tensors have only shapes, so that nothing is allocated or changed."""
    mode: AbstractContextManager[Any] = nullcontext() if meta else FakeTensorMode(allow_non_fake_inputs=True)

    def empty(shape: Shape, dtype: torch.dtype | None) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta" if meta else "cpu")

    def run(shape: Shape) -> Flow:
        memo: dict[int, Any] = {}
        with mode:
            for module in model.modules():
                for tensor in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
                    if isinstance(tensor, Tensor):
                        like = empty(tuple(tensor.shape), tensor.dtype)
                        parameter = isinstance(tensor, nn.Parameter)
                        memo.setdefault(id(tensor), nn.Parameter(like, tensor.requires_grad) if parameter else like)
        skeleton = copy.deepcopy(model, memo)
        dtypes = [parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()]
        with mode, _quiet():
            return Flow(follow(skeleton, empty(shape, dtypes[0] if dtypes else None)), skeleton)

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """A context without the logs of fake tensors: a failure only means that the next way is tried."""
    talker = logging.getLogger("torch._subclasses.fake_tensor")
    level = talker.level
    talker.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        talker.setLevel(level)


def _as_it_is(model: nn.Module, images: Tensor | None) -> Callable[[Shape], Flow]:
    def run(shape: Shape) -> Flow:
        first = next(iter(model.parameters()))
        given = torch.zeros(shape) if images is None else images
        return Flow(follow(model, given.to(first.device, first.dtype)), model)

    return run


def _shapes(model: nn.Module) -> Iterator[Shape]:
    """The shapes (N, C, H, W) to try, the likeliest first."""
    config = getattr(model, "pretrained_cfg", None)
    said = config.get("input_size") if isinstance(config, dict) else None
    first = next((layer.in_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)), 3)
    channels = dict.fromkeys([first, *(said or ())[:1], 3])
    sides = dict.fromkeys([*_sides(model), *(said or ())[-1:], *SIDES])
    yield from ((2, number, side, side) for side in sides for number in channels)


def _sides(model: nn.Module) -> Iterator[int]:
    """The image sizes that transformers of timm and torchvision have as attributes."""
    for module in model.modules():
        for size in (getattr(module, "img_size", None), getattr(module, "image_size", None)):
            side = size[-1] if isinstance(size, tuple | list) and size else size
            if isinstance(side, int) and side > 0:
                yield side
