"""Several captures and runs on one page: their comparison, and what the page shows of each."""

from collections.abc import Sequence
from typing import Any

from stripe.analysis import compare
from stripe.analysis.networks import network_names
from stripe.analysis.side_by_side import comparison_notes, network_rows, site_rows
from stripe.capture import Capture, CaptureLike
from stripe.errors import StripeError
from stripe.report.contents import contents
from stripe.report.sources import Source, open_source
from stripe.training import Run

__all__ = ["side_by_side"]


def side_by_side(each: Sequence[CaptureLike | Run], sites: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Gather everything about several networks, as ``contents`` does about one.

    Args:
        each: Two or more captures and runs.
        sites: Glob of the sites to show; in each network some must fit it.

    Returns:
        The data of ``page.js``, and the variables of ``page.html``.

    Raises:
        StripeError: There are fewer than two, one cannot be read, or no site of one fits the glob.
    """
    if len(each) < 2:
        raise StripeError(f"A list is for two networks or more to be shown side by side, and this one has {len(each)}.")
    sources = [open_source(None, [one], sites) if isinstance(one, Run) else open_source(one, [], sites) for one in each]
    names = _names(sources)
    parts, data = [], []
    for number, (source, name) in enumerate(zip(sources, names, strict=True)):
        shown, fields = contents(source, sites, networks=len(sources))
        data.append(shown)
        parts.append(fields | {"prefix": f"n{number}-", "name": name})
    judged = {
        name: source.capture
        for name, source in zip(names, sources, strict=True)
        if source.capture is not None and source.metrics is not None
    }
    page = {
        "title": f"{', '.join(names[:-1])} and {names[-1]}",
        "facts": [f"{len(sources)} networks side by side"],
        "comparison": _comparison(judged, sites),
        "parts": parts,
    }
    return {"networks": data}, page


def _comparison(captures: dict[str, Capture], sites: str) -> dict[str, Any]:
    """The rows of the tables of a comparison, and its notes; without rows where fewer than two can be compared."""
    if len(captures) < 2:
        return {"networks": [], "sites": [], "notes": ["Fewer than two of them have attention that was captured."]}
    table = compare(captures, sites)
    return {"networks": network_rows(table), "sites": site_rows(table), "notes": comparison_notes(table)}


def _names(sources: Sequence[Source]) -> list[str]:
    """A name for each that tells it from the others: that of its network, or that of the run's folder."""
    opened = [source.capture for source in sources if source.capture is not None]
    of_captures = iter(network_names(opened))
    names = [source.runs[0].path.absolute().name if source.capture is None else next(of_captures) for source in sources]
    return [name if names.count(name) == 1 else f"{name}, {number}" for number, name in enumerate(names, 1)]
