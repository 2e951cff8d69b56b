"""Reading a checkpoint of whatever format."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from stripe.errors import StripeError
from stripe.models.checkpoint.keys import without_wrappers
from stripe.models.checkpoint.pickled import epoch_in, read_pickled, state_dict_in

__all__ = ["META_KEY", "SUFFIXES", "Checkpoint", "epoch_of", "read"]

META_KEY = "stripe"  # in the header of a safetensors file: our description of the model, as JSON
SAFETENSORS = ".safetensors"
SUFFIXES = (SAFETENSORS, ".pth", ".pt", ".pth.tar", ".bin", ".ckpt")


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a model at one moment of its training.

    Attributes:
        path: The file.
        state_dict: Name → tensor on the CPU, without the prefixes of DataParallel and torch.compile.
        epoch: The epoch that the file holds or its name says; None where neither does.
        meta: What ``save`` was told about the model; empty for checkpoints that are not ours.
    """

    path: Path
    state_dict: dict[str, Tensor]
    epoch: int | None
    meta: dict[str, Any]


# What the entries of a description are, where it has them; null is as good as none.
META_TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "attention": (str,),
    "num_classes": (int,),
    "image_size": (int,),
    "args": (dict,),
    "data": (str,),
    "classes": (list,),
    "fused": (bool,),
    "epoch": (int,),
    "learning_rate": (int, float),
}


def read(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: ``.safetensors``; or a file by ``torch.save``, ``.pth``, ``.pt``, ``.pth.tar``, ``.bin`` or
            ``.ckpt``, of a state dict or of a dict that holds one as ``state_dict``, ``model``,
            ``model_state_dict``, ``net`` or ``state_dict_ema``. The latter are loaded with
            ``weights_only=True``: nothing in them can run.

    Raises:
        StripeError: There is no such file, it is damaged, it holds no state dict, or it holds pickled
            objects.
    """
    path = Path(path)
    if path.is_dir():
        inside = next((f", such as {path / name}" for name in ("best.safetensors",) if (path / name).exists()), "")
        raise StripeError(f"{path} is a folder; name a checkpoint in it{inside}")
    if path.suffix == SAFETENSORS:
        meta, tensors = _read_safetensors(path)
        epoch = epoch_in(meta)
    else:
        content = read_pickled(path)
        meta, tensors = {}, state_dict_in(content, path)
        epoch = epoch_in(content)
    if not tensors:
        raise StripeError(f"{path} holds no tensors")
    return Checkpoint(path, without_wrappers(tensors), _epoch_in_name(path) if epoch is None else epoch, meta)


def epoch_of(path: Path) -> int | None:
    """The epoch that a checkpoint holds or its name says, without reading its tensors.

    Raises:
        StripeError: The file cannot be read.
    """
    content = _read_safetensors(path, tensors=False)[0] if path.suffix == SAFETENSORS else read_pickled(path)
    epoch = epoch_in(content)
    return _epoch_in_name(path) if epoch is None else epoch


def _read_safetensors(path: Path, tensors: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get(META_KEY, "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise StripeError(f"{path} is not a safetensors file, or it is damaged ({error})") from error
    except OSError as error:
        raise StripeError(f"{path} cannot be read: {error.strerror or error}") from error
    if not isinstance(meta, dict):
        raise StripeError(f"{path}: its description (header entry {META_KEY!r}) is damaged")
    for key, types in META_TYPES.items():
        # JSON's true is an int in Python, and no size.
        value = meta.get(key)
        if not isinstance(value, (*types, NoneType)) or (isinstance(value, bool) and bool not in types):
            raise StripeError(f"{path}: its description (header entry {META_KEY!r}) is damaged: {key} is {value!r}")
    return meta, state


def _epoch_in_name(path: Path) -> int | None:
    """12 for ``epoch_12.pth``, ``checkpoint-12.pth.tar``, ``epoch=12-step=900.ckpt`` and ``0012.pt``.

    A number alone is not enough: ``resnet50.pth`` says nothing about an epoch.
    """
    stem = next(
        (path.name.removesuffix(s) for s in (".pth.tar", path.suffix) if s and path.name.endswith(s)),
        path.name,
    )
    # `epoch` first: in model_18_epoch_005.pth the 18 is a depth
    words = (r"(?:epochs?|ep)", r"(?:checkpoint|ckpt|model|weights|snapshot)")
    searched = (re.search(rf"(?<![a-z]){word}[-_.= ]?(\d{{1,6}})(?!\d)", stem, re.IGNORECASE) for word in words)
    found = next(filter(None, searched), None) or re.fullmatch(r"(\d{1,6})", stem)
    return int(found[1]) if found else None
