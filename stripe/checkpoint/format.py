"""Our own format: safetensors whose header describes the network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from stripe.checkpoint.keys import plain_names
from stripe.errors import StripeError
from stripe.files import write_whole
from stripe.models.spec import ModelSpec, refuse_damage
from stripe.provenance import provenance

__all__ = ["META_KEY", "check_meta", "save"]

META_KEY = "stripe"  # in the header of a safetensors file: our description of the model, as JSON


@dataclass(frozen=True)
class _Training:
    """What a description says beside its `ModelSpec`, where readers rely on it."""

    data: str
    classes: list[str]
    epoch: int = field(metadata={"range": (0, 1 << 31)})
    learning_rate: float = field(metadata={"range": (0, 1e6)})


def check_meta(meta: Any, path: Path) -> None:
    """Make sure that a description is what its readers take it for.

    Args:
        meta: As it was read from JSON.
        path: For the message.

    Raises:
        StripeError: It is damaged.
    """
    if not isinstance(meta, dict):
        raise StripeError(f"{path}: its description (header entry {META_KEY!r}) is damaged")
    ModelSpec.from_meta(meta, str(path))
    said = {key: value for key, value in meta.items() if value is not None}
    refuse_damage(_Training, said, str(path), "the training")


def save(path: str | Path, model: nn.Module, meta: Mapping[str, Any]) -> None:
    """Save a model's weights, and what is needed to build it again, as one safetensors file.

    The file is there as a whole or not at all: it is written beside its place and renamed.

    Args:
        path: ``….safetensors``; folders that are missing are made, a file of that name is replaced.
        model: Its state dict is saved, under the names of the network inside of wrappers (DataParallel, torch.compile,
            averages and the like).
        meta: Put into the header under ``stripe`` as JSON, with ``provenance`` added. ``from_meta`` builds
            the model from its ``model``, ``num_classes``, ``attention`` and ``args``; ``read`` takes
            ``epoch`` from it.

    Raises:
        StripeError: The file cannot be written.

    Example:
        >>> from stripe import checkpoint
        >>> from stripe.models import build, from_meta
        >>> model = build("resnet20", num_classes=10, attention="se")
        >>> meta = {"model": "resnet20", "attention": "se", "num_classes": 10, "epoch": 3}
        >>> checkpoint.save("/tmp/epoch_003.safetensors", model, meta)
        >>> restored = checkpoint.read("/tmp/epoch_003.safetensors")
        >>> checkpoint.load_into(from_meta(restored.meta), restored)
        []
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise StripeError(f"{path}: a checkpoint is written as .safetensors")
    # Copied: tied weights share memory, channels-last ones are not contiguous; safetensors takes neither.
    state = model.state_dict()
    tensors = {name: _copy(path, name, state[full]) for name, full in plain_names(model).items()}
    header = {"format": "pt", META_KEY: json.dumps({**meta, "provenance": provenance()})}
    content = safetensors.torch.save(tensors, header)
    write_whole(path, content)


def _copy(path: Path, name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise StripeError(
            f"{path}: the model's state {name!r} is a {type(value).__name__}, and only tensors can be saved"
        )
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)
