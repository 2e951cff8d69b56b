"""What the page's script draws, and what its text says."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import to_hex

from stripe.analysis.sites import select_sites
from stripe.capture import SiteFacts
from stripe.errors import StripeError
from stripe.names import counted, data_name, in_brackets, run_name
from stripe.plots.common import short_names
from stripe.plots.style import DIFFERENCE_MAP, VALUE_MAP
from stripe.progress import track
from stripe.report.budget import BUDGET, Plan, plan
from stripe.report.encode import encode
from stripe.report.predictions import predictions_pictures, transfer_pictures
from stripe.report.records import frontier_record, gradcam_records, shape_of, site_record
from stripe.report.search import search_record, search_sentence
from stripe.report.sentences import (
    frontier_sentence,
    gradcam_caption,
    headline,
    number_texts,
    site_note,
    thinning_note,
)
from stripe.report.sources import TOLERANCE, Source
from stripe.report.training import curves, results, settings_rows

__all__ = ["contents"]


def contents(
    source: Source, sites: str, frontier: pd.DataFrame | None = None, networks: int = 1
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Gather everything.

    Args:
        source: What the page is made from.
        sites: Glob of the sites to show.
        frontier: As for ``stripe.report.records.frontier_record``.
        networks: How many share the room of the page.

    Returns:
        The data of ``page.js``, ready for JSON, and the variables of ``page.html``.
    """
    capture = source.capture
    gradcam = [] if capture is None else gradcam_records(capture)
    data: dict[str, Any] = {"sites": [], "shown": [], "gradcam": gradcam, "curves": curves(source.runs)}
    data["frontier"] = None if frontier is None else frontier_record(frontier)
    try:
        data["search"] = search_record(source.runs)
    except StripeError as error:
        data["search"] = None
        source.notes.append(str(error))
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
        "predictions": predictions_pictures(source.runs, source.notes),
        "transfer": transfer_pictures(source.runs, source.notes),
        "search": data["search"],
        "search_sentence": search_sentence(data["search"]) if data["search"] else None,
        "notes": source.notes,
        "results": results(source.runs),
        "settings": settings_rows(source.runs),
        "curves": _curve_titles(data["curves"]),
        "tolerance": f"{TOLERANCE:g}",
    }
    if capture is None or source.metrics is None:
        return data, fields
    chosen = select_sites(capture, sites)
    epochs = capture.epochs.tolist()
    shapes = [shape_of(site) for site in chosen.values()]
    shown = plan(len(epochs), shapes) if networks == 1 else plan(len(epochs), shapes, BUDGET // networks)
    judged = source.verdicts
    index = source.metrics["stripe_index"].to_numpy().reshape(len(chosen), len(epochs))
    data |= {
        "epochs": epochs,
        "shown": [epochs[position] for position in shown.epochs],
        "differences": _differences(epochs, shown),
        "labels": capture.labels.tolist(),
        "classes": capture.classes,
        "index": encode(index),
        "sites": _site_records(chosen, capture.facts, shown, judged.to_dict("records"), len(epochs)),
    }
    fields |= {
        "headline": headline(judged),
        "controls": bool(source.controls),
        "sites": [row | number_texts(row) for row in judged.to_dict("records")],
        "first": data["sites"][0],
        "epochs": epochs,
        "shown": data["shown"],
        "overview_height": min(110 + len(chosen) * (22 if len(chosen) <= 40 else 13), 1500),
        "thinning": thinning_note(shown, len(epochs)),
    }
    return data, fields


def _curve_titles(curves: list[dict[str, Any]]) -> dict[str, str] | None:
    """Titles of the charts of trainings; None where there are none."""
    if not curves:
        return None
    score, axes = curves[0]["score"], curves[0]["axes"]
    loss = "Loss" if axes["loss"] == "loss" else f"Loss ({axes['loss']})"
    return {"loss": loss, "score": "" if score == "loss" else axes[score][:1].upper() + axes[score][1:]}


def _site_records(
    chosen: dict[str, xr.Dataset],
    facts: Mapping[str, SiteFacts],
    shown: Plan,
    judged: list[dict[Any, Any]],
    epochs: int,
) -> list[dict[str, Any]]:
    names, _ = short_names(list(chosen))
    rows = list(zip(chosen.items(), names, shown.cuts, judged, strict=True))
    records = []
    for (name, site), short, cut, verdict in track(rows, "Sites"):
        record = site_record(site, shown, cut, TOLERANCE)
        said = facts[name]
        module = f"{said.owner}, " if said.owner else ""
        about = {
            "name": name,
            "short": short,
            "verdict": f"{module}{said.kind} attention. {verdict['verdict']}",
            "note": site_note(record, shown, site.sizes["image"], epochs),
        }
        records.append(about | record)
    return records


def _title(source: Source) -> str:
    """What network, on what data."""
    if source.runs:
        settings = source.runs[0].settings
        network = f"{run_name(settings)}{in_brackets(settings.get('args'))}"
        return f"{network} on {data_name(str(settings.get('data', 'unknown data')))}"
    assert source.capture is not None  # there is one or the other
    network = "+".join(source.capture.network) or "a network"
    return f"{network} on {data_name(source.capture.data) or 'unknown data'}"


def _facts(source: Source) -> list[str]:
    """Scale and size, for the line below the title."""
    facts = []
    if source.runs:
        facts.append(source.runs[0].scale)
        seeds = ", ".join(str(run.settings.get("seed", "?")) for run in source.runs)
        facts.append(f"seed {seeds}" if len(source.runs) == 1 else f"seeds {seeds}")
    if source.capture is not None:
        capture = source.capture
        if not source.runs and capture.scale:
            facts.append(capture.scale)
        if not source.runs and capture.weights:
            facts.append(f"weights: {capture.weights}")
        if source.metrics is not None:
            facts.append(
                f"attention of {counted(len(capture.images), 'image')} at {counted(len(capture.epochs), 'epoch')}"
            )
    return facts


def _differences(epochs: Sequence[int], shown: Plan) -> list[str]:
    """Labels of the differences: the later epoch, or the first and last of those averaged."""
    later = epochs[1:]
    groups = [later[start : start + shown.differences] for start in range(0, len(later), shown.differences)]
    return [str(group[0]) if len(group) == 1 else f"{group[0]}–{group[-1]}" for group in groups]


def _colours(name: str) -> list[tuple[float, str]]:
    """A colour map of the other pictures, as Plotly takes it."""
    colours = mpl.colormaps[name]
    return [(stop, to_hex(colours(stop))) for stop in np.linspace(0, 1, 33).tolist()]
