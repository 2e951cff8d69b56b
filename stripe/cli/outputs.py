"""Checks of the output files of a command before it begins."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from stripe.models.composed import DETECTORS, SEGMENTERS

__all__ = ["capture_name", "check_folded", "check_output", "check_weights"]


def capture_name(attrs: Mapping[str, Any], weights: str) -> Path:
    """Name a capture after its network and data, so that captures of two networks do not meet in one file.

    Args:
        attrs: Attributes of the capture: ``model``, ``attention`` and ``data``.
        weights: Description of the weights; random ones are named, as one often compares them with trained ones.

    Example:
        >>> capture_name({"model": "timm:seresnet50", "data": "folder:/home/me/photos"}, "published").name
        'seresnet50-photos.h5'
    """
    kind, _, rest = str(attrs["model"]).partition(":")
    model = (PurePath(rest).stem if kind == "onnx" else rest.rpartition(":")[2] or rest) or kind
    model = f"{kind}-{model}" if kind in (*DETECTORS, *SEGMENTERS) else model
    attention = str(attrs.get("attention") or "none")
    kind, _, rest = str(attrs["data"]).partition(":")
    parts = [model, *([attention] if attention != "none" else []), *(["random"] * weights.startswith("random"))]
    name = "-".join([*parts, PurePath(rest).name if kind == "folder" else kind])
    return Path(re.sub(r"[^\w.+-]+", "-", name).strip("-.") + ".h5")


def check_output(path: Path) -> None:
    """Check that a command does not overwrite a file of a run.

    Raises:
        StripeError: The path is a file of a run.
    """
    from stripe.errors import StripeError
    from stripe.training import Run

    for folder in (path.parent, path.parent.parent):
        run = Run(folder)
        if (folder / "run.json").exists() and run.owns(path):
            raise StripeError(f"{path} is a file of the run in {folder}, which would be lost; name another file")


def check_weights(path: Path) -> None:
    """Check that a checkpoint does not overwrite a file of a run, and that its name ends in ``.safetensors``.

    Raises:
        StripeError: The name has another ending, or the path is a file of a run.
    """
    from stripe.errors import StripeError

    if path.suffix != ".safetensors":
        raise StripeError(f"{path}: a checkpoint is written as .safetensors")
    check_output(path)


def check_folded(path: Path, model: str | None) -> None:
    """The same for a folded network: a checkpoint, or an ONNX file where the network is of one.

    Args:
        path: The file to write.
        model: The name of the model.

    Raises:
        StripeError: The name has another ending, or the path is the network's own file or one of a run.
    """
    from stripe.errors import StripeError

    if model is None or not model.startswith("onnx:"):
        check_weights(path)
        return
    if path.suffix != ".onnx":
        raise StripeError(f"{path}: the network of an ONNX file is written as .onnx")
    if path.resolve() == Path(model.removeprefix("onnx:")).resolve():
        raise StripeError(f"{path} is the network's own file; name another file")
    check_output(path)
