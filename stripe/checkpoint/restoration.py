"""Restoration of networks, with ASR, noise and folded attention, from checkpoints."""

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
    """Restore the network of a checkpoint with its weights and, if it was trained so, with ASR.

    Args:
        checkpoint: Checkpoint from ``read``: one of ours, with the arguments of ``reparameterize`` in ``meta["asr"]``
            and those of ``stripe.asr.noise.add_noise`` in ``meta["noise"]``; or one of the official code.
        model: The network without ASR (but with attention, if it has both); by default the one that the checkpoint
            describes.

    Raises:
        StripeError: The checkpoint does not describe its model, or does not fit it.

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
    """Give a network the structure of a checkpoint: ASR, noise, folded attention. No weights are loaded.

    Args:
        model: The plain network. It is changed in place, unless the checkpoint has none of these.
        checkpoint: Checkpoint from ``translate``.

    Raises:
        StripeError: The checkpoint's description of them is missing, damaged, or does not fit the network.
    """
    spec = checkpoint.spec
    if spec.asr is not None:
        reparameterize(model, **{**asdict(spec.asr), "start": None})  # its weights are loaded afterwards
    if spec.noise is not None:
        add_noise(model, **asdict(spec.noise))
    if "folded" in checkpoint.meta:
        restructure(model, spec.folded, str(checkpoint.path))
    # Parametrizations of other kinds (weight_norm, spectral_norm) belong to the network itself.
    if spec.asr is None and any(ASR_KEY.search(key) for key in checkpoint.state_dict) and not _has_asr(model):
        raise StripeError(
            f"{checkpoint.path} holds parametrized weights but does not say how ASR was put in; do that with "
            "stripe.asr.reparameterize before loading it"
        )


def _has_asr(model: nn.Module) -> bool:
    return any(has_asr(module) for module in model.modules())
