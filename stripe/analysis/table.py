"""Writing a table of metrics, with what made it."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from stripe.errors import StripeError
from stripe.files import replacing, write_whole
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
        write_whole(sidecar, _json(made_by).encode())
        write_whole(path, table.to_csv(index=False).encode())
        return [path, sidecar]
    if path.suffix == ".parquet":
        described = table.copy()
        described.attrs.update(made_by)
        with replacing(path) as unfinished:
            described.to_parquet(unfinished, index=False)
    elif path.suffix == ".json":
        records = json.loads(table.to_json(orient="records", double_precision=15))
        write_whole(path, _json({"provenance": made_by, "metrics": records}).encode())
    else:
        raise StripeError(f"A table is written as .csv, .parquet or .json, not as '{path.name}'.")
    return [path]


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
