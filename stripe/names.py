"""How networks and data sets are called where people read it: captions, titles, tables, folders of runs."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

__all__ = ["data_name", "run_name"]


def run_name(settings: Mapping[str, Any]) -> str:
    """What was trained, as `stripe.bench.Variant` names it, and with what noise.

    Args:
        settings: Of a run.

    Example:
        >>> run_name({"model": "resnet83", "attention": "se", "asr": {"attention": "ie"}})
        'resnet83+se+asr(ie)'
    """
    attention, asr, noise = (settings.get(key) for key in ("attention", "asr", "noise"))
    parts = [str(settings["model"])]
    parts += [attention] if attention and attention != "none" else []
    parts += [f"asr({asr['attention']})"] if asr else []
    parts += [f"noise({noise['factor']:g}, {noise['offset']:g})"] if noise else []
    return "+".join(parts)


def data_name(spec: str) -> str:
    """The data set as a reader knows it; where its folder lies on somebody's disk is nobody's business.

    Args:
        spec: As `stripe.data.load` takes it.

    Example:
        >>> data_name("folder:/home/somebody/photos")
        'folder photos'
    """
    kind, colon, path = spec.partition(":")
    return f"folder {PurePath(path).name}" if kind == "folder" and colon else spec
