"""Checkpoints in several files: an index in JSON, and the shards that it names."""

import json
from pathlib import Path

from stripe.errors import StripeError

__all__ = ["INDEX", "MAIN", "main_file", "shards_of"]

INDEX = ".index.json"
MOST_BYTES = 1 << 28  # of an index; those of the largest networks have some megabytes

# The file that stands for a folder as Hugging Face's libraries and timm write it, in the order of preference.
MAIN = (
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "diffusion_pytorch_model.safetensors"),
)


def main_file(path: Path) -> Path:
    """The file itself, or the one that a folder is a checkpoint by.

    Raises:
        StripeError: It is a folder of another kind.
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
    """The files that an index names, each once, in the order of their names.

    Raises:
        StripeError: It is no index, a file is missing, or one lies outside of its folder.
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
        # A plain name, so that an index that came from elsewhere reads no other file.
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise StripeError(f"{index} names {name!r}, which is no file beside it")
        if not (index.parent / name).is_file():
            raise StripeError(f"{index} names {name}, which is not there; all shards have to be")
    return [index.parent / name for name in names]
