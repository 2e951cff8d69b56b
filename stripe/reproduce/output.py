"""Output of a recipe: a folder of pictures, numbers, a page about what they show, and a record of their making."""

import hashlib
import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stripe import plots
from stripe.analysis import save_table
from stripe.analysis.wording import signed
from stripe.files import write_whole
from stripe.provenance import provenance
from stripe.reproduce.cache import Cache, Planned
from stripe.reproduce.execution import Failures
from stripe.reproduce.figures import draw
from stripe.reproduce.findings import difference_of
from stripe.reproduce.plan import Plan
from stripe.reproduce.result import Result, scale_note
from stripe.training.config import RunConfig

__all__ = ["picture"]


def picture(
    plan: Plan,
    served: Mapping[RunConfig, Planned],
    cache: Cache,
    failures: Failures,
    out: Path,
    *,
    device: str | None = None,
) -> list[Path]:
    """Draw a recipe and write ``<name>.png``, ``numbers.csv``, ``README.md`` and ``provenance.json``.

    Args:
        plan: The plan of the recipe.
        served: The run of each request.
        cache: The folder of the runs.
        failures: Runs that could not be finished.
        out: Folder of all results; those of the recipe are written to a folder of its name in it.
        device: Device on which speeds, top-5 accuracies and Grad-CAM are computed.

    Returns:
        The pictures.

    Raises:
        StripeError: A run that a figure shows is not finished, or the folder cannot be written.
    """
    result = draw(plan, served, cache, failures, device=device)
    return _write(result, plan, served, out / plan.recipe.name)


def _write(result: Result, plan: Plan, served: Mapping[RunConfig, Planned], folder: Path) -> list[Path]:
    pictures = [plots.save(figure, folder / f"{name}.png") for name, figure in result.figures.items()]
    table, _ = save_table(result.table, folder / "numbers.csv")
    page = folder / "README.md"
    write_whole(page, _page(result, plan, served, pictures).encode())
    runs = {served[request].path.name: served[request] for request in (*plan.before, *plan.requests)}
    record = {
        "recipe": plan.recipe.name,
        "recipe_sha256": hashlib.sha256(plan.recipe.path.read_bytes()).hexdigest(),
        "scale": plan.scale.name,
        "instead": [f"{used} instead of {asked}" for used, asked in plan.instead],
        **provenance(),
        "runs": [_run(name, planned) for name, planned in sorted(runs.items())],
        "files": [path.name for path in (*pictures, table, page)],
    }
    write_whole(folder / "provenance.json", f"{json.dumps(record, indent=2, ensure_ascii=False)}\n".encode())
    return pictures


def _run(name: str, planned: Planned) -> dict[str, object]:
    """Describe a run by its address, with everything that determined its result."""
    description = planned.path / "run.json"
    record = json.loads(description.read_bytes()) if description.exists() else {}
    return {"address": name, "state": planned.state, "data": planned.found.attrs,
            **{key: record[key] for key in ("settings", "sessions") if key in record}}  # fmt: skip


def _page(result: Result, plan: Plan, served: Mapping[RunConfig, Planned], pictures: Iterable[Path]) -> str:
    recipe = plan.recipe
    parts = [
        f"# {recipe.name}: {recipe.title}",
        *(f"![{recipe.title}]({path.name})" for path in pictures),
        f"**The paper** ({recipe.source}): {recipe.claim}",
        f"**Here** ({scale_note(plan, served)}): {'; '.join(result.scales)}.",
    ]
    parts += [f"**What it shows:** {result.findings}"] if result.findings else []
    parts += [recipe.note] if recipe.note else []
    order = [column.name for column in recipe.columns]
    if "paper" in result.table:
        parts += [_wide(result.table, order, _beside), *_legend(result.table)]
        parts += _differences(result.table, order) if "control" in result.table else []
    else:
        parts.append(_markdown(result.table))
    if problems := _problems(result.table):
        parts += ["Not here:\n" + "\n".join(f"- {line}" for line in problems)]
    parts.append(f"Made by `{provenance()['command']}`; [provenance.json](provenance.json) says the rest.")
    return "\n\n".join(parts) + "\n"


def _problems(table: pd.DataFrame) -> list[str]:
    if "problem" not in table:
        return []
    wrong = table[table["problem"].fillna("") != ""]
    found: dict[tuple[str, str], list[str]] = {}
    for row in wrong.to_dict("records"):
        found.setdefault((_name(row), row["problem"]), []).append(str(row["column"]))
    some = table["column"].nunique()
    return [f"{', '.join([name, *own] if len(own) < some else [name])}: {why}" for (name, why), own in found.items()]


def _wide(table: pd.DataFrame, order: list[str], write: Callable[[Mapping[Hashable, Any]], str]) -> str:
    """Write a table with rows and columns as in the paper, with the paper's number and ours in each cell."""
    cells: dict[str, dict[str, str]] = {}
    for row in table.to_dict("records"):
        cells.setdefault(_name(row), {})[row["column"]] = write(row)
    wide = pd.DataFrame.from_dict(cells, orient="index")
    wide = wide[[name for name in order if name in wide]]
    lines = [["the paper → here", *map(str, wide.columns)], ["---"] * (len(wide.columns) + 1)]
    lines += [[str(name), *("" if value != value else str(value) for value in values)]
              for name, values in zip(wide.index, wide.to_numpy(), strict=True)]  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _legend(table: pd.DataFrame) -> list[str]:
    """Say what the numbers of trained networks are."""
    if "last" not in table or table["last"].isna().all():
        return []
    what = "Accuracies" if table["metric"].isin(["accuracy", "top5"]).all() else "What is trained"
    text = f"{what} here: at the best epoch, in brackets after the last."
    trained, sure = table[table["last"].notna()], table["best_low"].notna()
    if not sure.any():
        return [f"{text} One seed: no interval." if trained["seeds"].max() == 1 else text]
    text += (
        f" ±: half the width of the 95 % interval of the mean over {_seeds(table.loc[sure, 'seeds'])} (Student's t)."
    )
    return [text + (" Without ±: of one run, so no interval." if sure.sum() < len(trained) else "")]


def _seeds(counts: pd.Series) -> str:
    """Return numbers of seeds in words: ``3 seeds``, or ``2 to 3 seeds`` where some runs are missing."""
    least, most = int(counts.min()), int(counts.max())
    return f"{most} seeds" if least == most else f"{least} to {most} seeds"


def _differences(table: pd.DataFrame, order: list[str]) -> list[str]:
    """Write how the cells differ from their control, in the paper and here."""
    compared = table[table["difference"].notna()]
    if compared.empty:
        return []
    papers = {(row["group"], row["row"], row["column"]): row["paper"] for row in table.to_dict("records")}

    def write(row: Mapping[Hashable, Any]) -> str:
        places = [(row["group"], row["control"], row["column"]), (row["group"], row["row"], row["control"])]
        paper = row["paper"] - next((papers[place] for place in places if place in papers), math.nan)
        return f"{signed(paper)} → {difference_of(row)}"

    control = ", ".join(dict.fromkeys(compared["control"]))
    pairs, how = compared.loc[compared["difference_low"].notna(), "pairs"], "one seed: no interval"
    if len(pairs):
        how = f"seed by seed, with the 95 % interval of the mean over {_seeds(pairs)} (Student's t)"
    return [f"**Less the control** ({control}), {how}:", _wide(compared, order, write)]


def _name(row: Mapping[Hashable, Any]) -> str:
    """Return the name of a row of a table of numbers, with that of its group."""
    return f"{row['group']} {row['row']}".strip() if row["group"] != row["row"] else str(row["row"])


def _beside(row: Mapping[Hashable, Any]) -> str:
    """Return the paper's number and ours."""
    best, high, last = (float(row.get(key, math.nan)) for key in ("best", "best_high", "last"))
    text = f"{_number(row['paper'])} → {_number(best)}"
    if math.isfinite(half := high - best):
        text += f" ± {half:.2f}" if half < 1 <= abs(best) else f" ± {_number(half)}"
    return text + (f" ({_number(last)})" if math.isfinite(last) else "")


def _markdown(table: pd.DataFrame) -> str:
    rows = [list(map(str, table.columns)), ["---"] * table.shape[1]]
    rows += [[_cell(value) for value in record] for record in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: object) -> str:
    return (
        f"{value:.3g}" if isinstance(value, float) and math.isfinite(value) else "–" if value != value else str(value)
    )


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    if 0 < abs(value) < 0.0005:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
