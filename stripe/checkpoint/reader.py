"""Reading of checkpoints of any format, in one file or in shards that a JSON index names."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stripe.checkpoint.entries import USUAL, choose, entries
from stripe.checkpoint.format import META_KEY, check_meta
from stripe.checkpoint.inert import Inert
from stripe.checkpoint.keys import without_wrappers
from stripe.checkpoint.pickled import Pickled, read_pickled, refusal, regular
from stripe.errors import StripeError
from stripe.models.spec import ModelSpec

__all__ = ["INDEX", "MAIN", "SUFFIXES", "Checkpoint", "epoch_of", "main_file", "read", "shards_of"]

SAFETENSORS = ".safetensors"
SUFFIXES = (SAFETENSORS, ".pth", ".pt", ".pth.tar", ".bin", ".ckpt")
MOST_EPOCHS = 1 << 31


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a model at one moment of its training.

    Attributes:
        path: Path of the file.
        state_dict: Tensors on the CPU by name, without the names that only wrappers have.
        epoch: Epoch in the file or its name; None if it is in neither.
        meta: Description of the model that was given to ``save``; empty for checkpoints that are not ours.
    """

    path: Path
    state_dict: dict[str, Tensor]
    epoch: int | None
    meta: dict[str, Any]

    @property
    def spec(self) -> ModelSpec:
        """Description of the network, as far as ``meta`` has it.

        Raises:
            StripeError: The description is damaged.
        """
        return ModelSpec.from_meta(self.meta, str(self.path))


def read(path: str | Path, *, weights: str | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: Path of a ``.safetensors`` file; or of a file that ``torch.save`` wrote (``.pth``, ``.pt``, ``.pth.tar``,
            ``.bin`` or ``.ckpt``), with a state dict, or dicts that contain some and anything else, of which nothing
            runs (see ``stripe.checkpoint.inert``); or of an index of shards, ``….index.json``; or of a folder from
            Hugging Face's libraries, with ``model.safetensors``, ``pytorch_model.bin`` or an index of their shards.
        weights: Choice among several sets of weights: the name of an entry (``state_dict_ema``), ``ema`` for averaged
            weights, or a part of the parameters' names (``teacher`` of ``teacher.conv.weight``). By default the only
            set, or the one with a usual name, but not an average if there are others; a log message tells which.

    Raises:
        StripeError: The file does not exist, is damaged, or holds no state dict, or several networks without a usual
            name.
    """
    path = main_file(Path(path))
    meta: dict[str, Any] = {}
    if path.name.endswith(INDEX):
        tensors = _read_shards(path)
    elif path.suffix == SAFETENSORS:
        meta, tensors = _read_safetensors(path)
    else:
        pickled = read_pickled(path)
        found = _entries(pickled, path)
        chosen = choose(found, weights, path)
        return _checkpoint(path, chosen, epoch_in(pickled.content), {})
    if weights is not None:
        tensors = choose({"": tensors}, weights, path)
    return _checkpoint(path, tensors, epoch_in(meta), meta)


def _checkpoint(path: Path, tensors: dict[str, Any], epoch: int | None, meta: dict[str, Any]) -> Checkpoint:
    if not tensors:
        raise StripeError(f"{path} holds no tensors")
    for name, value in tensors.items():
        kind = value.kind if isinstance(value, Inert) else "a tensor without data" if value.is_meta else ""
        if kind:
            raise StripeError(f"{path}: {name} is {kind}; save a state dict of plain tensors, such as of model.float()")
    # Ours are saved without wrappers, so that ``module.`` in them is a name of the network.
    state = tensors if meta else without_wrappers(tensors)
    return Checkpoint(path, state, _epoch_in_name(path) if epoch is None else epoch, meta)


def epoch_of(path: Path) -> int | None:
    """Return the epoch in a checkpoint or its name, without reading its tensors.

    Raises:
        StripeError: The file cannot be read.
    """
    path = main_file(path)
    epoch = None
    if path.suffix == SAFETENSORS:
        epoch = epoch_in(_read_safetensors(path, tensors=False)[0])
    elif not path.name.endswith(INDEX):
        pickled = read_pickled(path, tensors=False)
        _entries(pickled, path)
        epoch = epoch_in(pickled.content)
    return _epoch_in_name(path) if epoch is None else epoch


def epoch_in(content: Any) -> int | None:
    """Return the entry ``epoch`` of a checkpoint, None if it has none."""
    epoch = content.get("epoch") if isinstance(content, Mapping) else None
    if isinstance(epoch, Tensor) and epoch.dim() == 0 and not epoch.is_meta:
        epoch = epoch.item()
    fine = isinstance(epoch, int) and not isinstance(epoch, bool) and 0 <= epoch <= MOST_EPOCHS
    return epoch if fine else None


def _entries(pickled: Pickled, path: Path) -> dict[str, dict[str, Any]]:
    """The state dicts of a pickled checkpoint.

    Raises:
        StripeError: The checkpoint has none.
    """
    content = pickled.content
    found = entries(content)
    if found:
        return found
    if pickled.refused:
        values = [content, *(content.get(key) for key in USUAL if isinstance(content, Mapping))]
        name = next((value.name for value in values if isinstance(value, Inert)), pickled.refused[0])
        raise StripeError(refusal(path, name))
    if not isinstance(content, Mapping):
        raise StripeError(f"{path} holds a {type(content).__name__}, not a state dict")
    keys = ", ".join(str(key) for key in list(content)[:8]) or "nothing"
    if any(isinstance(value, Tensor) and not isinstance(key, str) for key, value in content.items()):
        raise StripeError(f"{path} holds no state dict: it holds {keys}, and names of parameters are text")
    raise StripeError(f"{path} holds no state dict: it holds {keys}, and no entry with names and tensors")


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all files that an index names."""
    shards = shards_of(index)
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        if shard.suffix == SAFETENSORS:
            tensors |= _read_safetensors(shard)[1]
        else:
            tensors |= choose(_entries(read_pickled(shard), shard), None, shard)
    return tensors


def _read_safetensors(path: Path, tensors: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    regular(path)
    try:
        if not _is_utf8(path):
            content = path.read_bytes()
            length = int.from_bytes(content[:8], "little")
            state = safetensors.torch.load(content)
            header = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
            meta = json.loads(header.get(META_KEY, "{}"))
            check_meta(meta, path)
            return meta, state
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get(META_KEY, "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except (SafetensorError, ValueError, RecursionError, AttributeError, RuntimeError) as error:
        raise StripeError(
            f"{path} is not a safetensors file, or it is damaged ({' '.join(str(error).split())})"
        ) from error
    except OSError as error:
        raise StripeError(f"{path} cannot be read: {error.strerror or error}") from error
    check_meta(meta, path)
    return meta, state


def _is_utf8(path: Path) -> bool:
    """Whether the path is valid UTF-8, so that safetensors can open it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _epoch_in_name(path: Path) -> int | None:
    """The epoch in a name: 12 for ``epoch_12.pth``, ``checkpoint-12.pth.tar``, ``epoch=12-step=900.ckpt``, ``0012.pt``.

    A number after a word is not enough: ``resnet50.pth`` has no epoch.
    """
    if path.name in MAIN:  # Hugging Face's have it in the name of the folder
        path = path.parent
    stem = next(
        (path.name.removesuffix(s) for s in (".pth.tar", path.suffix) if s and path.name.endswith(s)),
        path.name,
    )
    # ``epoch`` first: in model_18_epoch_005.pth the 18 is a depth
    words = (r"(?:epochs?|ep)", r"(?:checkpoint|ckpt|model|weights|snapshot)")
    searched = (re.search(rf"(?<![a-z]){word}[-_.= ]?(\d{{1,6}})(?!\d|-of-)", stem, re.IGNORECASE) for word in words)
    found = next(filter(None, searched), None) or re.fullmatch(r"(\d{1,6})", stem)
    return int(found[1]) if found else None


INDEX = ".index.json"
MOST_BYTES = 1 << 28  # of an index; those of the largest networks have some megabytes

# Main files of folders that Hugging Face's libraries and timm write, in the order of preference.
MAIN = (
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "diffusion_pytorch_model.safetensors"),
)


def main_file(path: Path) -> Path:
    """Return the path itself if it is a file, or the main file of a folder that is a checkpoint.

    Raises:
        StripeError: The path is a folder of another kind.
    """
    try:
        if not path.is_dir():
            return path
        inside = next((path / name for name in MAIN if (path / name).is_file()), None)
        if inside is not None:
            return inside
        if (path / ".metadata").is_file():
            raise StripeError(
                f"{path} is a distributed checkpoint; make one file of it: "
                "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pth"
            )
        hint = f", such as {best}" if (best := path / "best.safetensors").is_file() else ""
    except OSError as error:
        raise StripeError(f"{path} cannot be read: {error.strerror or error}") from error
    raise StripeError(f"{path} is a folder; name a checkpoint in it{hint}")


def shards_of(index: Path) -> list[Path]:
    """Return the files that an index names, each once, in the order of their names.

    Raises:
        StripeError: The file is not an index, a shard is missing, or one lies outside of its folder.
    """
    try:
        if index.stat().st_size > MOST_BYTES or not index.is_file():
            raise ValueError("it is no file of text")
        content = json.loads(index.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StripeError(f"{index} cannot be read as an index of shards: {error}") from error
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise StripeError(f"{index} is no index of shards: it has no weight_map from parameters to files")
    names = sorted(set(places.values()))
    for name in names:
        # Only a plain name, so that an index from elsewhere cannot make us read another file.
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise StripeError(f"{index} names {name!r}, which is no file beside it")
        if not (index.parent / name).is_file():
            raise StripeError(f"{index} names {name}, which is not there; all shards have to be")
    return [index.parent / name for name in names]
