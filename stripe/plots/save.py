"""Pictures on disk: each is whole or absent, and holds a record of how it was made."""

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from stripe.errors import StripeError
from stripe.files import replacing
from stripe.names import without_folders
from stripe.provenance import provenance

__all__ = ["FORMATS", "check_format", "save"]

FORMATS = ("png", "pdf", "svg")


def save(figure: Figure, path: str | os.PathLike[str], made_by: Mapping[str, str] | None = None) -> Path:
    """Write a figure as PNG, PDF or SVG, with its content and its provenance as JSON inside the file.

    The JSON is the text ``Description`` of a PNG, the ``Subject`` of a PDF and the ``dc:description`` of an SVG. It has
    the keys of ``stripe.provenance.provenance`` and, under ``drawn``, the capture, the kind of plot, sites, images,
    channels, seed and epoch. Absolute paths are written without their folders, as a picture is handed on.

    Args:
        figure: Figure of a kind of plot, or any other matplotlib figure.
        path: Path of the file, whose ending decides the format. Missing folders are made.
        made_by: Provenance to write; by default that of this moment from ``stripe.provenance.provenance``.

    Returns:
        The path of the file.

    Raises:
        StripeError: The ending is unknown, or the file cannot be written.
    """
    path = Path(path)
    extension = check_format(path)
    made_by = dict(provenance() if made_by is None else made_by)
    drawn = getattr(figure, "drawn", {})
    # ASCII, so that it reads the same in every format and by every tool.
    record = json.dumps(_shareable({**made_by, "drawn": drawn}))
    title = f"stripe {drawn['kind']}" if "kind" in drawn else "stripe"
    creator = f"stripe {made_by.get('stripe', '')}".strip()
    metadata = {
        "png": {"Title": title, "Software": creator, "Description": record},
        "pdf": {"Title": title, "Creator": creator, "Subject": record},
        "svg": {"Title": title, "Creator": creator, "Description": record},
    }[extension]
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format=extension, metadata=metadata)
    return path


def _shareable(record: Any, key: str = "") -> Any:
    """The same record with every absolute path in it, at any depth, reduced to the name of its file."""
    if isinstance(record, Mapping):
        return {name: _shareable(value, str(name)) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [_shareable(value) for value in record]
    if not isinstance(record, str):
        return record
    if key != "command":
        return without_folders(record)
    try:
        words = shlex.split(record)
    except ValueError:  # no command line of a shell
        return without_folders(record)
    shorter = [without_folders(word) for word in words]
    return record if shorter == words else shlex.join(shorter)


def check_format(path: str | os.PathLike[str]) -> str:
    """Return the format that the ending of a path asks for.

    Raises:
        StripeError: The ending is not that of a known format.
    """
    extension = Path(path).suffix.lower().lstrip(".")
    if extension not in FORMATS:
        raise StripeError(f"Cannot tell the format from {str(path)!r}: end it in .png, .pdf or .svg.")
    return extension
