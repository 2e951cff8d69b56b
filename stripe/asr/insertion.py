"""Insertion of ASR into a network."""

import logging
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from stripe.asr.initialization import Start, make_asr
from stripe.asr.layers import Group, Scale, resolve
from stripe.asr.places import Where, find_places
from stripe.asr.value import ASR
from stripe.attention import attention_factory
from stripe.errors import StripeError

__all__ = ["reparameterize"]

logger = logging.getLogger(__name__)

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}


def reparameterize(
    model: nn.Module,
    where: Where | None = None,
    attention: str | Callable[[int], nn.Module] = "se",
    *,
    psi: float | str | None = None,
    learnable: bool = True,
    copies: int = 1,
    activation: str | Callable[[Tensor], Tensor] | None = None,
    init: float | None = None,
    start: Literal["paper", "alive"] | None = "paper",
) -> list[str]:
    """Insert attention-alike structural re-parameterization into a network, in place.

    The output y of a layer becomes ``y ⊙ v`` with ``v = σ(F_θ(ψ))``. This is done by scaling the rows of its weight and
    its bias (Stripe Observation paper, eq. 5–12), so that no map is touched, and ``stripe.asr.fuse`` only has to keep
    the scaled weights. ψ and θ are drawn from torch's global generator, and have the device and the data type of the
    layer. Build the optimiser afterwards.

    Args:
        model: Any network. It is not changed if an error is raised.
        where: Layers after which ASR is inserted: a pattern of module names as in a shell (``"layer*.*.bn3"``), a
            function of name and module, or groups of names. The layers of a group feed one sum (RepVGG, ACNet) and
            share one ASR. By default the known places of the architecture, or those of the paper's rule, of which a
            warning tells; see ``stripe.asr.known_places``. An activation that is part of the layer (timm's
            BatchNormAct2d) comes after the scaling.
        attention: Attention module κ: text as for ``stripe.attention.attention_factory``, in a list one entry for each
            place, or a function that makes a module from the number of channels C. The module needs ``gate(x)`` for
            maps (1, C, 1, 1) → (1, C, 1, 1).
        psi: Initial value of ψ: a number or, as in table 8, ``"C0.1"`` (that number everywhere) or ``"N0.3"`` (normal,
            standard deviation 0.3). By default 0.1, and 1e-3 at the known places of a ViT.
        learnable: Whether ψ is trained (table 8).
        copies: Number δ of ASR at each place, one after the other (table 7).
        activation: Activation σ: ``"sigmoid"``, ``"tanh"`` or a function. By default that of κ, and tanh at the known
            places of a ViT.
        init: Number that all parameters of κ are set to. By default κ's own initialisation, and 1e-3 at the known
            places of a ViT.
        start: What happens at dead places. With probability 2^−h all h = max(1, round(C / 16)) hidden units of SE, SPA
            or CBAM are inactive on the constant ψ; then ψ, and θ except its last bias, never get a gradient.
            ``"paper"`` keeps such places and warns of their number, ``"alive"`` draws their θ again until ψ has a
            gradient, and None does not check, for weights that are loaded afterwards.

    Returns:
        The names of the layers.

    Raises:
        StripeError: No layer is selected, a layer cannot take ASR, or κ has no value for a constant.

    Example:
        >>> from stripe import asr
        >>> from stripe.models import build
        >>> asr.reparameterize(build("resnet11"), "layer*.*.bn3", attention="eca")
        ['layer1.0.bn3', 'layer2.0.bn3', 'layer3.0.bn3']
    """
    if copies < 1:
        raise StripeError(f"copies is {copies}; there is at least one ASR at each place")
    if start not in ("alive", "paper", None):
        raise StripeError(f"unknown start {start!r}; there are paper and alive")
    places = find_places(model, where)
    groups = resolve(model, places.groups)
    how = Start(
        psi=places.psi if psi is None else psi,
        learnable=learnable,
        activation=_activation(places.activation if activation is None else activation),
        init=places.init if init is None else init,
        kind=start,
    )
    made = []
    for _ in range(copies):
        factory = attention_factory(attention) if isinstance(attention, str) else attention
        made.append(make_asr(groups, factory, how))
    for copy in made:
        for group, asr in zip(groups, copy, strict=True):
            _register(group, asr)
    if places.note:
        logger.log(logging.INFO if start is None else logging.WARNING, places.note)
    names = [target.name for group in groups for target in group]
    logger.info("ASR in %d layers, from %s to %s", len(names), names[0], names[-1])
    return names


def _register(group: Group, asr: ASR) -> None:
    """Scale the weights and biases of the layers of a group by the same value."""
    owner = True
    for target in group:
        for tensor in target.tensors:
            register_parametrization(target.layer, tensor, Scale(asr, owner, target.transposed_groups))
            owner = False


def _activation(activation: str | Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor] | None:
    if not isinstance(activation, str):
        return activation
    if activation not in ACTIVATIONS:
        raise StripeError(f"unknown activation {activation!r}; there are {', '.join(ACTIVATIONS)}, or give a function")
    return ACTIVATIONS[activation]
