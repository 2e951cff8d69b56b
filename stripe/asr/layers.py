"""The layers that an attention value can be folded into (paper, equations 5–12, and appendix A)."""

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrize import is_parametrized

from stripe.asr.value import ASR
from stripe.models.frozen_norm import is_frozen_norm

__all__ = ["Scale", "channels_of", "foldable", "has_asr", "parametrizations", "tensors_of"]

# class → the attribute that holds the number of output channels
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
    """A parametrization: weight or bias of a layer, times v along the layer's output channels.

    Args:
        asr: What gives v, (C,).
        owner: Whether ``asr`` becomes a submodule here. That is so in one place only: its parameters would be
            listed, and saved, more than once.
        groups: Those of a transposed convolution; 0 for any other layer.
    """

    def __init__(self, asr: ASR, owner: bool, groups: int = 0) -> None:
        super().__init__()
        self._asr = (asr,)  # in a tuple, so that it is no submodule
        if owner:
            self.asr = asr
        self.groups = groups

    @property
    def source(self) -> ASR:
        """What gives v."""
        return self._asr[0]

    def forward(self, tensor: Tensor) -> Tensor:
        """A weight (C, …), or (C_in, C / groups, …) of a transposed convolution, or a bias (C,), times v."""
        value = self.source.value()
        if tensor.ndim == 1:
            return tensor * value
        if self.groups:
            # Row i makes the outputs of its group.
            value = value.view(self.groups, 1, -1).expand(-1, len(tensor) // self.groups, -1).flatten(0, 1)
        return tensor * value.view(*value.shape, *[1] * (tensor.ndim - value.ndim))


def foldable(layer: nn.Module) -> bool:
    """Whether the layer is of a kind that an attention value can be folded into."""
    return isinstance(layer, tuple(CHANNELS)) or is_frozen_norm(layer)


def channels_of(layer: nn.Module) -> int:
    """C, the number of output channels (features) of a foldable layer."""
    if is_frozen_norm(layer):
        assert isinstance(layer.weight, Tensor)
        return len(layer.weight)
    channels = getattr(layer, next(name for kind, name in CHANNELS.items() if isinstance(layer, kind)))
    return int(channels[-1] if isinstance(channels, tuple) else channels)


def tensors_of(layer: nn.Module) -> list[str]:
    """What there is to scale: ``weight`` and, where the layer has one, ``bias``."""
    owned = {**layer._buffers, **layer._parameters} if is_frozen_norm(layer) else layer._parameters
    return [name for name in ("weight", "bias") if owned.get(name) is not None]


def parametrizations(layer: nn.Module) -> dict[str, list[nn.Module]]:
    """What each of a layer's parametrized tensors passes through, in that order."""
    if not is_parametrized(layer):
        return {}
    lists = layer.parametrizations
    assert isinstance(lists, nn.ModuleDict)
    return {tensor: list(entries.children()) for tensor, entries in lists.items()}


def has_asr(layer: nn.Module) -> bool:
    """Whether a layer's tensors are scaled by an attention value."""
    return any(isinstance(entry, Scale) for entries in parametrizations(layer).values() for entry in entries)
