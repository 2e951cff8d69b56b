"""What a checkpoint of ours says about its network, and of what it was trained on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stripe.errors import StripeError
from stripe.models.spec import ModelSpec, refuse_damage

__all__ = ["META_KEY", "check_meta"]

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
