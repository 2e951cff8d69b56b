"""Pictures of captures, runs and tables of speeds: one file a kind of plot, data in, a matplotlib figure out.

A new kind is one more file here; see `stripe.plots.kinds`.

Example:
    >>> from stripe import plots
    >>> figure = plots.diff("run/capture.h5", images=3)  # doctest: +SKIP
    >>> plots.save(figure, "diff.pdf")  # doctest: +SKIP
"""

from stripe.plots.diff import diff
from stripe.plots.figure import StripeFigure
from stripe.plots.frontier import frontier
from stripe.plots.gradcam import gradcam
from stripe.plots.index import index
from stripe.plots.registry import KINDS, RUN_KINDS, TABLE_KINDS, draw, draw_all, find
from stripe.plots.save import save
from stripe.plots.select import NothingToDrawError
from stripe.plots.spatial import spatial
from stripe.plots.speed import speed
from stripe.plots.std import std
from stripe.plots.stripe import stripe
from stripe.plots.tradeoff import tradeoff
from stripe.plots.training import training

__all__ = [
    "KINDS",
    "RUN_KINDS",
    "TABLE_KINDS",
    "NothingToDrawError",
    "StripeFigure",
    "diff",
    "draw",
    "draw_all",
    "frontier",
    "gradcam",
    "index",
    "save",
    "spatial",
    "speed",
    "std",
    "stripe",
    "tradeoff",
    "training",
]

find(__path__)
# A kind has the name of its file: the name means the function.
globals().update(KINDS | RUN_KINDS | TABLE_KINDS)
