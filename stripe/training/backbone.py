"""The first weights of the backbone of a detector or segmenter: those of a classifier."""

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stripe import checkpoint, models
from stripe.asr.places import ATTENTION_NAMES
from stripe.checkpoint.keys import COUNTER
from stripe.errors import StripeError
from stripe.models.spec import ModelSpec
from stripe.names import counted, run_name

__all__ = ["load_backbone"]

logger = logging.getLogger(__name__)

_PARAMETRIZED = (".parametrizations.", ".original")


def load_backbone(model: nn.Module, path: str | Path, spec: ModelSpec) -> dict[str, Any]:
    """Load the weights of a classifier into the backbone of a network; a log message tells how many fit.

    Tensors that the backbone lacks, such as those of the classifier's head, are left out, and those that the checkpoint
    lacks, such as attention that begins here, keep their values. A layer with ASR takes the weights of one without.

    Args:
        model: Detector or segmenter; changed in place.
        path: The checkpoint, of ours or of others, see ``stripe.checkpoint.read``.
        spec: What the network is.

    Returns:
        What the settings of a run say of it: name and SHA-256 of the file.

    Raises:
        StripeError: The file cannot be read, no tensor of it fits, or the network has no backbone. Or the checkpoint
            says of which network it is, and that is another one: layers of the backbone are not in it, or it has layers
            or attention that the backbone has not.
    """
    backbone = models.backbone_of(model)
    read = checkpoint.translate(checkpoint.read(path))
    own = [name for name in backbone.state_dict() if not name.endswith(COUNTER)]
    given = _of_backbone(read.state_dict, own)
    renamed = {_plain(name): name for name in own if name not in given}
    state = {renamed.get(name, name): value for name, value in given.items()}
    skipped = checkpoint.load_into(backbone, replace(read, state_dict=state), partial=True)
    names = {entry.split(" ")[0].rstrip(":") for entry in skipped}
    missing = names & set(own)
    if read.spec.model is not None:
        _check(backbone, names, read, spec)
    logger.warning("%s: %d of the %d tensors of the backbone are from it", path, len(own) - len(missing), len(own))
    return {"name": read.path.name, "sha256": hashlib.sha256(read.path.read_bytes()).hexdigest()}


def _of_backbone(state: Mapping[str, Tensor], own: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of the backbone in the state dict of a detector or segmenter; all of them in another one."""
    for prefix in ("backbone.body.", "backbone."):
        if part := {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}:
            outer = "features." if own[0].startswith("features.0.") and not any(name in part for name in own) else ""
            return {outer + name: value for name, value in part.items()}
    return dict(state)


def _check(backbone: nn.Module, skipped: Collection[str], read: checkpoint.Checkpoint, spec: ModelSpec) -> None:
    """Refuse the checkpoint of another network, of the names of which some are skipped."""
    own, parts = backbone.state_dict(), {name for name, _ in backbone.named_children()}
    lacking = [name for name in own if name in skipped and not _begins_here(name)]
    left = [name for name in skipped if name not in own and name.split(".")[0] in parts]
    if lacking or left:
        counts = {"{} of the backbone are not in it": lacking, "{} of it are not in the backbone": sorted(left)}
        said = [
            text.format(f"{counted(len(found), 'tensor')} ({found[0]} …)") for text, found in counts.items() if found
        ]
        raise StripeError(
            f"{read.path} is of {run_name(read.spec.to_meta())}, with which the backbone of {run_name(spec.to_meta())} "
            f"cannot begin: {', and '.join(said)}. Give a checkpoint of the same network, with the same attention or "
            "without any, and fused if it has ASR."
        )


def _begins_here(name: str) -> bool:
    """Whether a tensor is of attention or ASR, which may begin with their own first values."""
    return not ATTENTION_NAMES.isdisjoint(name.split(".")) or (_PARAMETRIZED[0] in name and _plain(name) == name)


def _plain(name: str) -> str:
    """The name of a tensor without a parametrization: ``bn.parametrizations.weight.original`` → ``bn.weight``."""
    before, after = _PARAMETRIZED
    return name.replace(before, ".").removesuffix(after) if before in name and name.endswith(after) else name
