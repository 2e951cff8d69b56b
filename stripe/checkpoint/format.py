"""Our own format of checkpoints: safetensors with a description of the network in the header."""

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
from stripe.models.spec import ModelSpec, Range, refuse_damage
from stripe.provenance import provenance

__all__ = ["META_KEY", "check_meta", "save"]

META_KEY = "stripe"  # header entry with our description of the model as JSON


@dataclass(frozen=True)
class _Training:
    """Entries of a description beside its ``ModelSpec`` that readers rely on."""

    data: str
    classes: list[str]
    epoch: int = field(metadata={"range": Range(0, 1 << 31)})
    learning_rate: float = field(metadata={"range": Range(0, 1e6)})


def check_meta(meta: Any, path: Path) -> None:
    """Check that a description has the structure that its readers expect.

    Args:
        meta: Description as read from JSON.
        path: Path of the file, for the message.

    Raises:
        StripeError: The description is damaged.
    """
    if not isinstance(meta, dict):
        raise StripeError(f"{path}: its description (header entry {META_KEY!r}) is damaged")
    ModelSpec.from_meta(meta, str(path))
    said = {key: value for key, value in meta.items() if value is not None}
    refuse_damage(_Training, said, str(path), "the training")


def save(path: str | Path, model: nn.Module, meta: Mapping[str, Any]) -> None:
    """Save a model's weights and a description from which it can be built again, as one safetensors file.

    The file is written under a temporary name and renamed, so that it is complete or absent.

    Args:
        path: Path of the file, ``….safetensors``. Missing folders are made, and an existing file is replaced.
        model: Model whose state dict is saved, under the names of the network inside of wrappers (DataParallel,
            torch.compile, averages and the like).
        meta: Description that is put into the header under ``stripe`` as JSON, with ``provenance`` added.
            ``from_meta`` builds the model from its ``model``, ``num_classes``, ``attention`` and ``args``; ``read``
            takes ``epoch`` from it.

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
    # Copied, as safetensors accepts neither tied weights, which share memory, nor channels-last ones.
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
