"""The first weights of the backbone of a detector or segmenter: those of a classifier."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from stripe import checkpoint, models
from stripe.checkpoint.keys import COUNTER

__all__ = ["load_backbone"]

logger = logging.getLogger(__name__)

_PARAMETRIZED = (".parametrizations.", ".original")


def load_backbone(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Load the weights of a classifier into the backbone of a network; a log message tells how many fit.

    Tensors that the backbone lacks, such as those of the classifier's head, are left out, and those that the checkpoint
    lacks keep their values. A layer with ASR takes the weights of one without.

    Args:
        model: Detector or segmenter; changed in place.
        path: The checkpoint, of ours or of others, see ``stripe.checkpoint.read``.

    Returns:
        What the settings of a run say of it: name and SHA-256 of the file.

    Raises:
        StripeError: The file cannot be read, no tensor of it fits, or the network has no backbone.
    """
    backbone = models.backbone_of(model)
    read = checkpoint.translate(checkpoint.read(path))
    own = [name for name in backbone.state_dict() if not name.endswith(COUNTER)]
    renamed = {_plain(name): name for name in own if name not in read.state_dict}
    state = {renamed.get(name, name): value for name, value in read.state_dict.items()}
    skipped = checkpoint.load_into(backbone, replace(read, state_dict=state), partial=True)
    missing = {entry.split(" ")[0].rstrip(":") for entry in skipped} & set(own)
    logger.warning("%s: %d of the %d tensors of the backbone are from it", path, len(own) - len(missing), len(own))
    return {"name": read.path.name, "sha256": hashlib.sha256(read.path.read_bytes()).hexdigest()}


def _plain(name: str) -> str:
    """The name of a tensor without a parametrization: ``bn.parametrizations.weight.original`` → ``bn.weight``."""
    before, after = _PARAMETRIZED
    return name.replace(before, ".").removesuffix(after) if before in name and name.endswith(after) else name
