"""Helpers that the plots of a table of speeds share: roles of networks, colours, the record, and the caption."""

from typing import Any

import pandas as pd

from stripe.names import counted

__all__ = ["ROLES", "caption_of", "is_unfused", "module_colors", "record_of", "role_of"]

ROLES = {"none": "backbone", "attention": "with attention", "asr": "with ASR", "both": "with attention and ASR"}
"""Name in the legend for each change of a backbone."""


def role_of(row: Any) -> tuple[str, str]:
    """Return the role of a network, a key of ``ROLES``, and its attention module (``"none"`` for a backbone).

    Args:
        row: Row of a table from ``stripe.bench.measure``, as ``itertuples`` gives it.
    """
    if row.asr == "none":
        return ("none", "none") if row.attention == "none" else ("attention", row.attention)
    return ("asr" if row.attention == "none" else "both"), row.asr


def is_unfused(row: Any) -> bool:
    """Whether a network has ASR that is not fused and therefore costs time."""
    return row.asr != "none" and not row.fused


def module_colors(table: pd.DataFrame) -> dict[str, str]:
    """Choose a colour for each attention module, in the order of the table; a backbone is grey."""
    modules = dict.fromkeys(role_of(row)[1] for row in table.itertuples())
    modules.pop("none", None)
    return {"none": "0.5"} | {name: f"C{number}" for number, name in enumerate(modules)}


def record_of(table: pd.DataFrame, kind: str) -> dict[str, Any]:
    """Describe the content of a picture in JSON types, for the record in its file."""
    return {"kind": kind, "table": table.to_dict("list"), **{str(k): v for k, v in table.attrs.items()}}


def caption_of(table: pd.DataFrame, *notes: str) -> str:
    """The line at the foot of a figure: machine · images · precision · notes."""
    about = table.attrs
    parts = [str(about.get("processor", "")), str(about.get("precision", ""))]
    if "image_size" in about:
        parts.append(f"{counted(int(about['batch_size']), 'image')} of {about['image_size']} px a pass")
        parts.append(f"median and quartiles of {counted(int(about['repeats']), 'round')}")
    return " · ".join(part for part in [*parts, *notes] if part)
