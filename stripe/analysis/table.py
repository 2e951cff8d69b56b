"""Writing a table of metrics, with what made it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from stripe.errors import StripeError
from stripe.provenance import provenance

__all__ = ["save_table"]


def save_table(table: pd.DataFrame, path: str | Path) -> list[Path]:
    """Write a table of metrics as CSV, Parquet or JSON, by the suffix of the path.

    What made it (versions, command, time, and the table's ``attrs``, such as the tolerance) goes along:

    - ``.csv``: into ``<path>.json`` beside it, so that any program reads the table itself as it is;
    - ``.parquet``: into the file, as ``pandas.read_parquet(path).attrs``;
    - ``.json``: into the file: ``{"provenance": {…}, "metrics": [{…}, …]}``, null where a number is undefined.

    Args:
        table: What `metrics` returns.
        path: Where to write; replaced if it exists, and untouched if writing fails.

    Returns:
        The files that were written.

    Raises:
        StripeError: The suffix is none of these, or the file cannot be written.
    """
    path = Path(path)
    made_by: dict[str, Any] = {**provenance(), **{str(key): value for key, value in table.attrs.items()}}
    if path.suffix == ".csv":
        sidecar = path.with_name(f"{path.name}.json")
        _write(sidecar, lambda file: file.write_text(_json(made_by)))
        _write(path, lambda file: table.to_csv(file, index=False))
        return [path, sidecar]
    if path.suffix == ".parquet":
        described = table.copy()
        described.attrs.update(made_by)
        _write(path, lambda file: described.to_parquet(file, index=False))
    elif path.suffix == ".json":
        records = json.loads(table.to_json(orient="records", double_precision=15))
        _write(path, lambda file: file.write_text(_json({"provenance": made_by, "metrics": records})))
    else:
        raise StripeError(f"A table is written as .csv, .parquet or .json, not as '{path.name}'.")
    return [path]


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the path, then rename: there is never half a file."""
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StripeError(f"Cannot write '{path}': {error.strerror or error}.") from error


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
