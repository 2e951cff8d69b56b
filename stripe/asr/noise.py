"""Constant noise in batch normalisation (Stripe Observation paper, section 6 and table 9).

With the normalised map x̂, ``BN(x) = (x̂ ⊙ N_a + N_b) ⊙ γ + β``, in training and in evaluation. This is a batch
normalisation with γ ⊙ N_a and β + γ ⊙ N_b instead of γ and β, so that the noise is a parametrization, as ASR is, and
is fused in the same way.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized, register_parametrization

from stripe.asr.value import ASR
from stripe.attention import Attention
from stripe.errors import StripeError

__all__ = ["Noise", "NoiseFactor", "NoiseOffset", "add_noise", "has_noise"]


class Noise(nn.Module):
    """Base class of the parametrizations for noise.

    Args:
        noise: One number per channel, of shape (C,). It is a buffer, so that checkpoints hold it.
    """

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self.noise: Tensor
        self.register_buffer("noise", noise)


class NoiseFactor(Noise):
    """A parametrization that multiplies γ (C,) by N_a."""

    def forward(self, weight: Tensor) -> Tensor:
        """Multiply the weight of the normalisation (C,) by the noise."""
        return weight * self.noise


class NoiseOffset(Noise):
    """A parametrization that adds γ ⊙ N_b to β (C,).

    Args:
        noise: The noise N_b, of shape (C,).
        weight: Parametrizations of the weight of the same layer, whose original is γ.
    """

    def __init__(self, noise: Tensor, weight: ParametrizationList) -> None:
        super().__init__(noise)
        self._weight = (weight,)  # in a tuple, so that it is not a submodule

    def forward(self, bias: Tensor) -> Tensor:
        """Add γ times the noise to the bias of the normalisation (C,)."""
        gamma = self._weight[0].original
        assert isinstance(gamma, Tensor)
        return bias + gamma * self.noise


def add_noise(model: nn.Module, factor: float, offset: float, *, std: float = 0.0) -> list[str]:
    """Disturb every batch normalisation of a network by constants, in place.

    The network may have ASR, which then scales the disturbed output: ``((x̂ ⊙ N_a + N_b) ⊙ γ + β) ⊙ v``. Batch
    normalisations within attention modules are not changed, as they are not layers of the backbone.

    Args:
        model: Any network. It is not changed if an error is raised. Build the optimiser afterwards.
        factor: Value of N_a, or its mean.
        offset: Value of N_b, or its mean.
        std: Standard deviation over the channels. N_a and N_b of each channel are drawn once from normal distributions
            around ``factor`` and ``offset``, by torch's global generator. With 0 all channels have the same constants,
            as in table 9.

    Returns:
        The names of the layers.

    Raises:
        StripeError: A number is not finite, or the network has no batch normalisation, or one without γ and β.

    Example:
        >>> from stripe.models import build
        >>> add_noise(build("resnet11"), 0.8, 0.5)[:2]
        ['bn1', 'layer1.0.bn1']
    """
    if not (math.isfinite(factor) and math.isfinite(offset) and 0 <= std < math.inf):
        raise StripeError(f"the noise is {factor:g}, {offset:g} with standard deviation {std:g}; give finite numbers")
    inner = {part for owner in model.modules() if isinstance(owner, Attention | ASR) for part in owner.modules()}
    layers = {
        name: layer for name, layer in model.named_modules() if isinstance(layer, _BatchNorm) and layer not in inner
    }
    if not layers:
        raise StripeError("this network has no batch normalisation that noise could disturb")
    for name, layer in layers.items():
        if not layer.affine:
            raise StripeError(f"{name} has no weight and bias (affine=False), into which noise could be put")
        if has_noise(layer):
            raise StripeError(f"{name} has noise already")
    for layer in layers.values():
        weight = layer.weight
        # Constants are not drawn: the generator rounds to float32, which would be visible in a float64 layer.
        factors, offsets = (
            (
                torch.normal(mean, std, (layer.num_features,)) if std else weight.new_full((layer.num_features,), mean)
            ).to(weight.device, weight.dtype)
            for mean in (factor, offset)
        )
        gamma = _put_innermost(layer, "weight", NoiseFactor(factors))
        _put_innermost(layer, "bias", NoiseOffset(offsets, gamma))
    return list(layers)


def has_noise(layer: nn.Module) -> bool:
    """Whether ``add_noise`` disturbed a layer."""
    return is_parametrized(layer, "bias") and isinstance(_passed(layer, "bias")[0], Noise)


def _put_innermost(layer: nn.Module, tensor: str, noise: Noise) -> ParametrizationList:
    """Apply the noise before existing parametrizations, so that γ, which N_b is multiplied by, is the layer's own."""
    if is_parametrized(layer, tensor):
        _passed(layer, tensor).insert(0, noise)
    else:
        register_parametrization(layer, tensor, noise)
    return _passed(layer, tensor)


def _passed(layer: nn.Module, tensor: str) -> ParametrizationList:
    """The parametrizations of a tensor."""
    lists = layer.parametrizations
    assert isinstance(lists, nn.ModuleDict)
    passed = lists[tensor]
    assert isinstance(passed, ParametrizationList)
    return passed
