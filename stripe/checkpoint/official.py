"""Translation of checkpoints of the official ASR code.

Its networks have our names, but with ASR bn3 is a module with several parts: ``bn3.bn`` is the normalisation,
``bn3.vector`` is ψ, ``bn3.attention_module`` is κ, and ``bn3.fused_bn`` is a copy of the normalisation with the value
fused in.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from stripe.attention import ATTENTION, attention
from stripe.checkpoint.reader import Checkpoint

__all__ = ["translate"]

NORMALIZATION = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}
"""Mean and standard deviation of the images in the official code: those of CIFAR-10 for every data set."""

NORM = re.compile(r"(layer\d\.\d+\.bn3)\.(vector|bn|fused_bn|attention_module)\b\.?(.*)")


def translate(checkpoint: Checkpoint) -> Checkpoint:
    """Translate a checkpoint of the official code into our names; any other checkpoint is returned unchanged.

    Args:
        checkpoint: Checkpoint from ``read``.

    Returns:
        A checkpoint with our keys, and with a ``meta`` for ``restore``: ``model`` (whose depth is counted),
        ``num_classes``, ``attention`` of the blocks, ``mean`` and ``std`` of the images and, if there is ASR, ``asr``.
    """
    state = checkpoint.state_dict
    depth = _depth(state)
    if checkpoint.meta or depth is None:
        return checkpoint
    meta: dict[str, Any] = {
        "model": f"resnet{depth}",
        "num_classes": len(state["fc.weight"]),
        "attention": _kind(state, "layer1.0.attention_module."),
        **NORMALIZATION,
    }
    fused_only = not any(".bn3.bn." in key for key in state)  # the state after its switch_to_deploy(delete=True)
    if not fused_only:
        meta["asr"] = {"attention": _kind(state, "layer1.0.bn3.attention_module.")}
    translated = {}
    for key, tensor in state.items():
        found = NORM.fullmatch(key)
        name = key if found is None else _name(found[1], found[2], found[3], fused_only)
        if name is not None:
            translated[name] = tensor.flatten() if key.endswith(".vector") else tensor
    return replace(checkpoint, state_dict=translated, meta=meta)


def _name(layer: str, part: str, rest: str, fused_only: bool) -> str | None:
    """Our name of a tensor of the official bn3; None if we have no such tensor."""
    if fused_only:
        return f"{layer}.{rest}" if part == "fused_bn" else None
    if part == "bn":
        return f"{layer}.parametrizations.{rest}.original" if rest in ("weight", "bias") else f"{layer}.{rest}"
    owner = f"{layer}.parametrizations.weight.0.asr"
    return {"vector": f"{owner}.psi", "attention_module": f"{owner}.attention.{rest}"}.get(part)


def _depth(state: Mapping[str, Tensor]) -> int | None:
    """The depth 9n+2 of a bottleneck ResNet of our structure; None for any other network."""
    blocks = {match[0] for key in state if (match := re.match(r"layer\d\.\d+(?=\.conv3\.weight$)", key))}
    count = len(blocks) // 3
    expected = {f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(count)}
    stem = state.get("conv1.weight")
    ours = blocks and blocks == expected and "fc.weight" in state and stem is not None and stem.shape == (16, 3, 3, 3)
    return 9 * count + 2 if ours else None


def _kind(state: Mapping[str, Tensor], prefix: str) -> str:
    """The name of the attention module whose tensors begin with ``prefix``; ``"none"`` if there are none."""
    shapes = {key.removeprefix(prefix): tensor.shape for key, tensor in state.items() if key.startswith(prefix)}
    channels = len(state["layer1.0.conv3.weight"])
    for name in ATTENTION if shapes else ():
        own = attention(name, channels).state_dict()
        if {key: tensor.shape for key, tensor in own.items()} == shapes:
            return name
    return "none"
