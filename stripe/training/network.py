"""The network of a training: a backbone with attention, ASR, both or neither, and perhaps with noise."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from stripe import models
from stripe.asr import reparameterize
from stripe.asr.noise import add_noise
from stripe.models.spec import ModelSpec
from stripe.training.config import RunConfig

__all__ = ["build", "describe"]


def describe(model: str, **settings: Any) -> dict[str, Any]:
    """The description of a network, ready for JSON, as runs and checkpoints hold it.

    Args:
        model: The backbone's name, as for ``stripe.models.build``.
        **settings: Fields of ``stripe.training.RunConfig``.

    Raises:
        StripeError: As for ``stripe.training.RunConfig``.
    """
    return RunConfig(model, **settings).spec.to_meta()


def build(description: ModelSpec | Mapping[str, Any], *, pretrained: bool = False) -> nn.Module:
    """Build the network of a description, its weights drawn from torch's global generator.

    Args:
        description: The network, or what ``describe`` gave.
        pretrained: Download published weights of the backbone.

    Raises:
        StripeError: A name is unknown, or a part does not fit the network.
    """
    spec = description if isinstance(description, ModelSpec) else ModelSpec.from_meta(description)
    network = models.build(
        str(spec.model),
        num_classes=spec.num_classes,
        attention=spec.attention,
        pretrained=pretrained,
        args=spec.args,
    )
    # Last, so that the backbone begins with the same weights in every mode and under every noise.
    if spec.asr:
        reparameterize(network, **asdict(spec.asr))
    if spec.noise:
        add_noise(network, **asdict(spec.noise))
    return network
