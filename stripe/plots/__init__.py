"""Plots of captures, runs and tables of speeds: functions from data to a matplotlib figure, one file per kind of plot.

To add a kind, add a file here; see ``stripe.plots.kinds``.

Example:
    >>> from stripe import plots
    >>> figure = plots.diff("run/capture.h5", images=3)  # doctest: +SKIP
    >>> plots.save(figure, "diff.pdf")  # doctest: +SKIP
"""

from stripe.plots.beside import BESIDE, beside
from stripe.plots.diff import diff
from stripe.plots.figure import StripeFigure
from stripe.plots.frontier import frontier
from stripe.plots.gradcam import gradcam
from stripe.plots.index import index
from stripe.plots.kinds import KINDS, RUN_KINDS, TABLE_KINDS, draw, draw_all, draw_all_of_runs, find
from stripe.plots.save import save
from stripe.plots.search import search
from stripe.plots.select import NothingToDrawError
from stripe.plots.spatial import spatial
from stripe.plots.speed import speed
from stripe.plots.std import std
from stripe.plots.stripe import stripe
from stripe.plots.tradeoff import tradeoff
from stripe.plots.training import training

__all__ = [
    "BESIDE",
    "KINDS",
    "RUN_KINDS",
    "TABLE_KINDS",
    "NothingToDrawError",
    "StripeFigure",
    "beside",
    "diff",
    "draw",
    "draw_all",
    "draw_all_of_runs",
    "frontier",
    "gradcam",
    "index",
    "save",
    "search",
    "spatial",
    "speed",
    "std",
    "stripe",
    "tradeoff",
    "training",
]

find()
# a kind has the same name as its file; here the name stands for the function
globals().update(KINDS | RUN_KINDS | TABLE_KINDS)
