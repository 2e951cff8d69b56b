"""From a checkpoint to a network with ASR."""

import re
from dataclasses import asdict

from torch import nn

from stripe.asr.insertion import reparameterize
from stripe.asr.layers import has_asr
from stripe.asr.noise import add_noise
from stripe.checkpoint.loader import load_into
from stripe.checkpoint.official import translate
from stripe.checkpoint.reader import Checkpoint
from stripe.errors import StripeError
from stripe.models import from_meta
from stripe.models.surgery import restructure

__all__ = ["prepare", "restore"]

ASR_KEY = re.compile(r"(^|\.)parametrizations\.(weight|bias)\.\d+\.asr\.psi$")


def restore(checkpoint: Checkpoint, model: nn.Module | None = None) -> nn.Module:
    """The network that a checkpoint is of, with its weights and, where it was trained so, with ASR.

    Args:
        checkpoint: What ``read`` gave: ours, whose ``meta["asr"]`` holds the arguments that `reparameterize` was called
            with, and ``meta["noise"]`` those of `stripe.asr.noise.add_noise`; or one of the official code.
        model: The plain network (with κ, where it has both); None: what the checkpoint says.

    Raises:
        StripeError: The checkpoint does not say its model, or does not fit it.

    Example:
        >>> from stripe import checkpoint
        >>> model = restore(checkpoint.read("resnet20-asr.pth.tar"))  # doctest: +SKIP
    """
    checkpoint = translate(checkpoint)
    if model is None:
        model = from_meta(checkpoint.meta)
    prepare(model, checkpoint)
    load_into(model, checkpoint)
    return model


def prepare(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a network the structure that a checkpoint is of: ASR, noise, folded attention. No weights are loaded.

    Args:
        model: The plain network, changed in place; left as it is where the checkpoint has none of them.
        checkpoint: As `translate` gives it.

    Raises:
        StripeError: The checkpoint's description of them is missing, damaged, or does not fit the network.
    """
    spec = checkpoint.spec
    if spec.asr is not None:
        reparameterize(model, **{**asdict(spec.asr), "start": None})  # its weights are loaded
    if spec.noise is not None:
        add_noise(model, **asdict(spec.noise))
    if "folded" in checkpoint.meta:
        restructure(model, spec.folded, str(checkpoint.path))
    # Parametrizations of other kinds (weight_norm, spectral_norm) are the network's own affair.
    if spec.asr is None and any(ASR_KEY.search(key) for key in checkpoint.state_dict) and not _has_asr(model):
        raise StripeError(
            f"{checkpoint.path} holds parametrized weights but does not say how ASR was put in; do that with "
            "stripe.asr.reparameterize before loading it"
        )


def _has_asr(model: nn.Module) -> bool:
    return any(has_asr(module) for module in model.modules())
