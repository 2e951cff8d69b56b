"""The layers that are to be scaled, each checked before anything is changed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.parameter import is_lazy

from stripe.asr.layers import KINDS, channels_of, foldable, has_asr, parametrizations, tensors_of
from stripe.errors import StripeError

__all__ = ["Group", "Target", "resolve"]


@dataclass(frozen=True)
class Target:
    """A layer that is to be scaled.

    Attributes:
        name: Its name in the model.
        layer: The module.
        channels: C, its output channels.
        tensors: ``weight`` and, where it has one, ``bias``.
        transposed_groups: The groups of a transposed convolution; 0 for any other layer.
    """

    name: str
    layer: nn.Module
    channels: int
    tensors: list[str]
    transposed_groups: int


Group = list[Target]


def resolve(model: nn.Module, groups: Sequence[tuple[str, ...]]) -> list[Group]:
    """Look up layers by name, and make sure that an attention value can be folded into each.

    Args:
        model: The network.
        groups: Names; the layers of a group share a value.

    Raises:
        StripeError: A name is unknown or means a layer of another group, a layer cannot be scaled, shares its weight
            with another, or has another number of channels than the rest of its group.
    """
    own = [(*module._parameters.values(), *module._buffers.values()) for module in model.modules()]
    uses = Counter(id(tensor) for tensors in own for tensor in tensors)
    seen: dict[nn.Module, str] = {}
    found = []
    for names in groups:
        group = [_target(model, name) for name in names]
        for target in group:
            if target.layer in seen:
                raise StripeError(f"{target.name} is named twice as a place of ASR (as {seen[target.layer]} before)")
            seen[target.layer] = target.name
            tied = [name for name in target.tensors if uses[id(getattr(target.layer, name))] > 1]
            if tied:
                raise StripeError(
                    f"{target.name} shares its {tied[0]} with another layer, which fusing would scale, too; untie "
                    "them, or leave this layer out"
                )
        if len({target.channels for target in group}) > 1:
            sizes = ", ".join(f"{target.name} {target.channels}" for target in group)
            raise StripeError(f"layers that share an ASR need the same number of channels, but there are {sizes}")
        found.append(group)
    return found


def _target(model: nn.Module, name: str) -> Target:
    try:
        layer = model.get_submodule(name)
    except AttributeError:
        raise StripeError(f"the model has no layer {name!r} for ASR to follow") from None
    _check(name, layer)
    groups = int(layer.groups) if isinstance(layer, _ConvTransposeNd) else 0
    return Target(name, layer, channels_of(layer), tensors_of(layer), groups)


def _check(name: str, layer: nn.Module) -> None:
    """Make sure that an attention value can be folded into a layer, or say why not."""
    kind = type(layer).__name__
    if not foldable(layer):
        raise StripeError(f"{name} is a {kind}; ASR can follow {KINDS}")
    if any(tensor is not None and is_lazy(tensor) for tensor in layer._parameters.values()):
        raise StripeError(f"{name} does not know its size yet; run the model once before ASR is put in")
    if has_asr(layer):
        raise StripeError(f"{name} already has ASR; several at one place are copies=2, 3 …")
    present = {type(entry).__name__ for entries in parametrizations(layer).values() for entry in entries}
    if present:
        found = ", ".join(sorted(present))
        raise StripeError(
            f"{name} is already parametrized ({found}); fusing would take that away too, so remove it first"
        )
    for tensor in ("weight", "bias"):
        if tensor not in tensors_of(layer) and getattr(layer, tensor, None) is not None:
            raise StripeError(
                f"{name} computes its {tensor} from others (old weight norm, pruning …); make that permanent first"
            )
    if not tensors_of(layer):
        raise StripeError(f"{name} is a {kind} without affine parameters, so there is nothing to fold a value into")
    if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) != 1:
        raise StripeError(
            f"{name} normalises over {tuple(layer.normalized_shape)}; which of these axes is the channel is not known"
        )
