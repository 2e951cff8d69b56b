"""The page: one HTML file with everything in it."""

import base64
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from stripe.capture import CaptureLike
from stripe.errors import StripeError
from stripe.files import write_whole
from stripe.provenance import provenance
from stripe.report.contents import contents
from stripe.report.side_by_side import side_by_side
from stripe.report.sources import open_source
from stripe.training import Run

__all__ = ["page", "save"]

_HERE = Path(__file__).parent


def save(
    path: str | Path,
    capture: CaptureLike | Sequence[CaptureLike | Run] | None = None,
    runs: Sequence[Run] = (),
    *,
    sites: str = "*",
    frontier: pd.DataFrame | None = None,
    made_by: Mapping[str, str] | None = None,
) -> Path:
    """Write a report as one HTML file, whole or not at all; see ``page``.

    Args:
        path: Where to, ending in ``.html``; replaced where it is there.
        capture: As for ``page``.
        runs: As for ``page``.
        sites: As for ``page``.
        frontier: As for ``page``.
        made_by: As for ``page``.

    Returns:
        The path.

    Raises:
        StripeError: As ``page``, another ending, or the file cannot be written.

    Example:
        >>> from stripe import report
        >>> report.save("report.html", "capture.h5")  # doctest: +SKIP
        >>> report.save("both.html", ["se.h5", "srm.h5"])  # doctest: +SKIP
    """
    if not isinstance(path, str | os.PathLike):
        raise StripeError(f"A report's path comes first, then what it is about; the first is a {type(path).__name__}.")
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):  # a slip must not replace the capture by the page
        raise StripeError(f"A report is an HTML page: end {str(path)!r} in .html.")
    write_whole(
        path, page(capture, runs, sites=sites, frontier=frontier, made_by=made_by).encode(errors="backslashreplace")
    )
    return path


def page(
    capture: CaptureLike | Sequence[CaptureLike | Run] | None = None,
    runs: Sequence[Run] = (),
    *,
    sites: str = "*",
    frontier: pd.DataFrame | None = None,
    made_by: Mapping[str, str] | None = None,
) -> str:
    """A report as HTML that needs nothing else: neither network nor other files.

    In it: a verdict in words, the stripe index of every site over the epochs, for a chosen site attention image ×
    channel at a chosen epoch, its std before and after and its differences, average Grad-CAM maps, training curves,
    settings, provenance. What a capture lacks is left out or said in a sentence. Large captures are thinned, which the
    page says (``stripe.report.budget``), so that it stays under 15 MB.

    Of several captures or runs the page holds the comparison of ``stripe.analysis.compare``, and below it one network
    at a time, which is chosen from a list.

    Args:
        capture: A capture, its tree or its path; None takes that of the first of the runs which has one. Or a list of
            captures and runs, to be shown side by side.
        runs: Trainings of one network, perhaps with several seeds; may be empty where there is a capture.
        sites: Glob of the sites to show, such as ``"layer3.*"``: the fewer, the more of each fits.
        frontier: What folding costs and gains, a table of ``stripe fold --frontier``.
        made_by: Instead of what [provenance][stripe.provenance.provenance] says now.

    Raises:
        StripeError: There is nothing to show, something cannot be read, or no site fits the glob; or there are several
            networks and ``runs`` or a ``frontier``, which are of one.
    """
    made_by = dict(provenance() if made_by is None else made_by)
    if isinstance(capture, Sequence) and not isinstance(capture, str):
        if runs or frontier is not None:
            name = "runs" if runs else "frontier"
            raise StripeError(f"{name}= is of one network; leave it away, or give one capture or run.")
        data, fields = side_by_side(capture, sites)
    else:
        data, part = contents(open_source(capture, runs, sites), sites, frontier)
        fields = {"title": part["title"], "facts": part["facts"], "comparison": None, "parts": [part | {"prefix": ""}]}
    css, script = ((_HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    plotly = get_plotlyjs()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = _number
    return environment.get_template("page.html").render(
        **fields,
        made_by=made_by,
        policy=_policy([plotly, script]),
        css=Markup(css),
        script=Markup(script),
        plotly=Markup(plotly),
        data=_json(data),
    )


def _json(data: Mapping[str, Any]) -> Markup:
    """JSON that can stand in a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy by which nothing is loaded from anywhere, and only these scripts run."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    rules = [
        "default-src 'none'",
        "script-src " + " ".join(f"'sha256-{digest}'" for digest in digests),
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


def _number(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else "–"
