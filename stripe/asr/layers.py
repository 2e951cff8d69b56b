"""The layers that an attention value can be fused into (paper, equations 5–12, and appendix A).

The layers to scale are looked up by name, and each is checked before anything is changed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from stripe.asr.value import ASR
from stripe.errors import StripeError
from stripe.models.frozen_norm import is_frozen_norm

__all__ = [
    "Group",
    "Scale",
    "Target",
    "channels_of",
    "foldable",
    "has_asr",
    "parametrizations",
    "resolve",
    "tensors_of",
]

# attribute with the number of output channels, by class
CHANNELS: dict[type[nn.Module], str] = {
    _BatchNorm: "num_features",
    _InstanceNorm: "num_features",
    nn.GroupNorm: "num_channels",
    nn.LayerNorm: "normalized_shape",
    nn.Conv1d: "out_channels",
    nn.Conv2d: "out_channels",
    nn.Conv3d: "out_channels",
    _ConvTransposeNd: "out_channels",
    nn.Linear: "out_features",
}
KINDS = "batch (frozen, too), instance, group and layer norm, convolutions, transposed convolutions and linear layers"


class Scale(nn.Module):
    """A parametrization that multiplies the weight or the bias of a layer by v along the output channels.

    Args:
        asr: Module that computes v, of shape (C,).
        owner: Whether ``asr`` becomes a submodule here. This holds for one place only, as its parameters would
            otherwise be listed and saved more than once.
        groups: Number of groups of a transposed convolution; 0 for any other layer.
    """

    def __init__(self, asr: ASR, owner: bool, groups: int = 0) -> None:
        super().__init__()
        self._asr = (asr,)  # in a tuple, so that it is not a submodule
        if owner:
            self.asr = asr
        self.groups = groups

    @property
    def source(self) -> ASR:
        """The module that computes v."""
        return self._asr[0]

    def forward(self, tensor: Tensor) -> Tensor:
        """Multiply a weight (C, …), or (C_in, C / groups, …) of a transposed convolution, or a bias (C,) by v."""
        value = self.source.value()
        if tensor.ndim == 1:
            return tensor * value
        if self.groups:
            # Each row computes the outputs of its group.
            value = value.view(self.groups, 1, -1).expand(-1, len(tensor) // self.groups, -1).flatten(0, 1)
        return tensor * value.view(*value.shape, *[1] * (tensor.ndim - value.ndim))


def foldable(layer: nn.Module) -> bool:
    """Whether a layer is of a kind that an attention value can be fused into."""
    return isinstance(layer, tuple(CHANNELS)) or is_frozen_norm(layer)


def channels_of(layer: nn.Module) -> int:
    """The number of output channels (features) C of a foldable layer."""
    if is_frozen_norm(layer):
        assert isinstance(layer.weight, Tensor)
        return len(layer.weight)
    channels = getattr(layer, next(name for kind, name in CHANNELS.items() if isinstance(layer, kind)))
    return int(channels[-1] if isinstance(channels, tuple) else channels)


def tensors_of(layer: nn.Module) -> list[str]:
    """The names of the tensors to scale: ``weight`` and, if the layer has one, ``bias``."""
    owned = {**layer._buffers, **layer._parameters} if is_frozen_norm(layer) else layer._parameters
    return [name for name in ("weight", "bias") if owned.get(name) is not None]


def parametrizations(layer: nn.Module) -> dict[str, list[nn.Module]]:
    """The parametrizations of each tensor of a layer, in the order in which they are applied."""
    if not is_parametrized(layer):
        return {}
    lists = layer.parametrizations
    assert isinstance(lists, nn.ModuleDict)
    return {tensor: list(entries.children()) for tensor, entries in lists.items()}


def has_asr(layer: nn.Module) -> bool:
    """Whether a layer's tensors are scaled by an attention value."""
    return any(isinstance(entry, Scale) for entries in parametrizations(layer).values() for entry in entries)


@dataclass(frozen=True)
class Target:
    """A layer to scale.

    Attributes:
        name: Name of the layer in the model.
        layer: The layer itself.
        channels: Number of output channels C.
        tensors: Names of the tensors to scale: ``weight`` and, if the layer has one, ``bias``.
        transposed_groups: Number of groups of a transposed convolution; 0 for any other layer.
    """

    name: str
    layer: nn.Module
    channels: int
    tensors: list[str]
    transposed_groups: int


Group = list[Target]


def resolve(model: nn.Module, groups: Sequence[tuple[str, ...]]) -> list[Group]:
    """Look up layers by name, and check that an attention value can be fused into each.

    Args:
        model: The network.
        groups: Groups of names; the layers of a group share a value.

    Raises:
        StripeError: A name is unknown or stands for a layer of another group; or a layer cannot be scaled, shares its
            weight with another, or has another number of channels than the rest of its group.
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
    """Check that an attention value can be fused into a layer, and raise the reason if not."""
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
