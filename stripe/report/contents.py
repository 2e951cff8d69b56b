"""What the page's script draws, and what its text says."""

import json
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import to_hex

from stripe.analysis.sites import select_sites
from stripe.plots.common import data_name, short_names
from stripe.plots.runs import run_name
from stripe.plots.style import DIFFERENCE_MAP, VALUE_MAP
from stripe.progress import track
from stripe.report.encode import encode
from stripe.report.folding import frontier_record, frontier_sentence
from stripe.report.gradcam import gradcam_records
from stripe.report.sites import shape_of, site_record
from stripe.report.sources import TOLERANCE, Source
from stripe.report.thinning import Plan, plan
from stripe.report.training import curves, results, settings_rows
from stripe.report.verdict import headline
from stripe.report.wording import gradcam_caption, site_note, thinning_note

__all__ = ["contents"]


def contents(source: Source, sites: str, frontier: pd.DataFrame | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Gather everything.

    Args:
        source: What the page is made from.
        sites: Glob of the sites to show.
        frontier: As for `stripe.report.folding.frontier_record`.

    Returns:
        The data of ``page.js``, ready for JSON, and the variables of ``page.html``.
    """
    tree = source.capture
    gradcam = [] if tree is None else gradcam_records(tree)
    data: dict[str, Any] = {"sites": [], "shown": [], "gradcam": gradcam, "curves": curves(source.runs)}
    data["frontier"] = None if frontier is None else frontier_record(frontier)
    data["colours"] = {"values": _colours(VALUE_MAP), "differences": _colours(DIFFERENCE_MAP)}
    fields: dict[str, Any] = {
        "title": _title(source),
        "facts": _facts(source),
        "headline": None,
        "sites": [],
        "gradcam": [
            {
                "layer": record["layer"],
                "caption": gradcam_caption(record),
                "shape": "two-maps" if "std" in record else "one-map",
            }
            for record in gradcam
        ],
        "gradcam_std": any("std" in record for record in gradcam),
        "frontier": frontier_sentence(data["frontier"]) if data["frontier"] else None,
        "notes": source.notes,
        "results": results(source.runs),
        "settings": settings_rows(source.runs),
        "curves": bool(data["curves"]),
        "tolerance": f"{TOLERANCE:g}",
    }
    if tree is None or source.metrics is None:
        return data, fields
    chosen = select_sites(tree, sites)
    epochs = tree.dataset["epoch"].to_numpy().tolist()
    shown = plan(len(epochs), [shape_of(site) for site in chosen.values()])
    judged = source.verdicts
    index = source.metrics["stripe_index"].to_numpy().reshape(len(chosen), len(epochs))
    data |= {
        "epochs": epochs,
        "shown": [epochs[position] for position in shown.epochs],
        "differences": _differences(epochs, shown),
        "labels": tree.dataset["label"].to_numpy().tolist(),
        "classes": _classes(tree),
        "index": encode(index),
        "sites": _site_records(chosen, shown, judged.to_dict("records"), len(epochs)),
    }
    fields |= {
        "headline": headline(judged),
        "sites": judged.to_dict("records"),
        "first": data["sites"][0],
        "epochs": epochs,
        "shown": data["shown"],
        "overview_height": min(110 + len(chosen) * (22 if len(chosen) <= 40 else 13), 1500),
        "thinning": thinning_note(shown, len(epochs)),
    }
    return data, fields


def _site_records(
    chosen: dict[str, xr.Dataset], shown: Plan, judged: list[dict[Any, Any]], epochs: int
) -> list[dict[str, Any]]:
    names, _ = short_names(list(chosen))
    rows = list(zip(chosen.values(), names, shown.cuts, judged, strict=True))
    records = []
    for site, short, cut, verdict in track(rows, "Sites"):
        record = site_record(site, shown, cut, TOLERANCE)
        module = f"{owner}, " if (owner := site.attrs.get("owner")) else ""
        about = {
            "name": str(verdict["site"]),
            "short": short,
            "verdict": f"{module}{site.attrs['kind']} attention. {verdict['verdict']}",
            "note": site_note(record, shown, site.sizes["image"], epochs),
        }
        records.append(about | record)
    return records


def _title(source: Source) -> str:
    """What network, on what data."""
    if source.runs:
        settings = source.runs[0].settings
        return f"{run_name(settings)} on {data_name(str(settings.get('data', 'unknown data')))}"
    assert source.capture is not None  # there is one or the other
    attrs = source.capture.attrs
    model = str(attrs.get("model", "a network"))
    if str(attrs.get("attention", "none")) not in ("none", ""):
        model += f"+{attrs['attention']}"
    return f"{model} on {data_name(str(attrs.get('data', 'unknown data')))}"


def _facts(source: Source) -> list[str]:
    """Scale and size, for the line below the title."""
    facts = []
    if source.runs:
        facts.append(source.runs[0].scale)
        seeds = ", ".join(str(run.settings.get("seed", "?")) for run in source.runs)
        facts.append(f"seed {seeds}" if len(source.runs) == 1 else f"seeds {seeds}")
    if source.capture is not None:
        attrs, sizes = source.capture.attrs, source.capture.sizes
        if not source.runs and attrs.get("scale"):
            facts.append(str(attrs["scale"]))
        if not source.runs and attrs.get("weights"):
            facts.append(f"weights: {attrs['weights']}")
        if source.metrics is not None:
            facts.append(f"attention of {sizes['image']:,} images at {_counted(sizes['epoch'], 'epoch')}")
    return facts


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _differences(epochs: Sequence[int], shown: Plan) -> list[str]:
    """Labels of the differences: the later epoch, or the first and last of those averaged."""
    later = epochs[1:]
    groups = [later[start : start + shown.differences] for start in range(0, len(later), shown.differences)]
    return [str(group[0]) if len(group) == 1 else f"{group[0]}–{group[-1]}" for group in groups]


def _colours(name: str) -> list[tuple[float, str]]:
    """A colour map of the other pictures, as Plotly takes it."""
    colours = mpl.colormaps[name]
    return [(stop, to_hex(colours(stop))) for stop in np.linspace(0, 1, 33).tolist()]


def _classes(tree: xr.DataTree) -> list[str]:
    found = tree.attrs.get("classes", "[]")
    try:
        names = json.loads(found) if isinstance(found, str) else list(found)
    except ValueError:
        return []
    return [str(name) for name in names] if isinstance(names, list) else []
