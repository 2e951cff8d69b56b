"""A table of speeds that was written by ``stripe bench -o``, read again."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from stripe.errors import StripeError

__all__ = ["read_table"]

# what → the columns that it must have, and the command that makes it
TABLES = {
    "speeds": (
        {"model", "backbone", "attention", "asr", "fused", "parameters", "images_per_second", "relative_speed"},
        "stripe bench -o table.csv",
    ),
    "accuracy against speed": (
        {"sites", "accuracy", "uncertainty", "error", "relative_speed"},
        "stripe fold --frontier table.csv",
    ),
}


def read_table(path: str | Path, what: str = "speeds") -> pd.DataFrame:
    """Read what `stripe.analysis.save_table` wrote of a table from `measure`, or of another.

    Args:
        path: The ``.csv`` (what made it is in ``<path>.json``), ``.parquet`` or ``.json`` file.
        what: What it is a table of, a key of `TABLES`.

    Returns:
        The table, and in its ``attrs`` what made it; those are empty where a ``.csv`` came without its second file.

    Raises:
        StripeError: There is no such file, or it is no such table.
    """
    path = Path(path)
    try:
        table, made_by = _READERS[path.suffix](path) if path.suffix in _READERS else (pd.DataFrame(), {})
    except OSError as error:
        raise StripeError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:  # pandas' and json's errors are ValueErrors
        raise StripeError(f"{path} is no table, or is damaged ({str(error).partition(chr(10))[0]})") from error
    columns, command = TABLES[what]
    if missing := columns - set(table.columns):
        raise StripeError(f"{path} is no table of {what} (it has no {sorted(missing)[0]}); `{command}` makes one")
    table.attrs.update(made_by)
    return table


def _csv(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    sidecar = path.with_name(f"{path.name}.json")
    return pd.read_csv(path), dict(json.loads(sidecar.read_text())) if sidecar.exists() else {}


def _parquet(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    table = pd.read_parquet(path)
    return table, {str(key): value for key, value in table.attrs.items()}


def _json(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    content = json.loads(path.read_text())
    return pd.DataFrame(content["metrics"]), dict(content["provenance"])


_READERS = {".csv": _csv, ".parquet": _parquet, ".json": _json}
