"""Several captures side by side, drawn as one kind of plot draws a single capture, with the same scale for all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from stripe.analysis import stripe_index
from stripe.analysis.comparison import CONTROLS
from stripe.analysis.networks import network_names
from stripe.capture import Capture, CaptureLike, as_capture
from stripe.errors import StripeError
from stripe.names import data_name
from stripe.plots.common import (
    columns,
    control_of,
    describe,
    ending_note,
    label_epochs,
    short_names,
    sides_of,
    still_note,
)
from stripe.plots.figure import StripeFigure, wrapped
from stripe.plots.heatmap import colorbar, heatmap, readable_limits
from stripe.plots.index import write_numbers
from stripe.plots.select import CHANNEL_KINDS, Choice, Patterns, choose, choose_epoch, choose_sites
from stripe.plots.std import SIDES, control_look, finish, quantiles, spread_bars
from stripe.plots.stripe import index_text, number_axis
from stripe.plots.style import Width, is_narrow, styled

__all__ = ["BESIDE", "beside"]

BESIDE = ("stripe", "std", "index")
"""Kinds of plot that draw several captures side by side."""

Sites = dict[str, xr.Dataset]


def beside(
    kind: str,
    captures: Sequence[CaptureLike],
    *,
    sites: Patterns = None,
    images: Choice = 100,
    channels: Choice = 128,
    epoch: int | None = None,
    seed: int = 0,
    style: str = "paper",
    width: Width | None = None,
    cmap: str | None = None,
) -> StripeFigure:
    """Draw several captures side by side, one panel (or column of panels) for each, all with the same scale.

    ``index`` draws sites × epochs of the stripe index; ``std`` the standard deviation over images of the channels of
    each site, before and after attention; ``stripe`` images × channels of attention at sites that all captures have,
    or, where no name matches, at the first, middle and last site of each.

    Args:
        kind: ``"index"``, ``"std"`` or ``"stripe"``.
        captures: Two or more captures, their trees or paths.
        sites: Names of sites or globs; by default all sites, and three of them for ``stripe``.
        images: Number of images (a sample), or a list of images, for ``stripe``.
        channels: Number of channels (a sample), or a list of channels, for ``stripe``.
        epoch: Epoch to draw, for ``std`` and ``stripe``; by default the last of each capture.
        seed: Seed of the samples.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        cmap: Name of a colour map of matplotlib.

    Raises:
        NothingToDrawError: A capture has no attention of a kind that this plot shows.
        StripeError: There is no such kind, or a capture has no such site, image, channel or epoch.

    Example:
        >>> from stripe import plots
        >>> plots.beside("index", ["se.h5", "srm.h5"])  # doctest: +SKIP
    """
    if kind not in BESIDE:
        raise StripeError(f"A plot of kind {kind!r} is of one capture; {', '.join(BESIDE)} draw several side by side.")
    opened = [as_capture(capture) for capture in captures]
    with styled(style, cmap) as settings:
        drawn: dict[str, Any] = {
            "kind": kind,
            "captures": [describe(capture, kind) for capture in opened],
            "seed": seed,
        }
        narrow = is_narrow(width)
        kinds = [*CHANNEL_KINDS, "spatial"] if kind == "index" else CHANNEL_KINDS
        titles = network_names(opened)
        chosen_sites = [choose_sites(capture, sites, kinds) for capture in opened]
        if kind == "stripe":
            few = sites is None
            figure, notes = _stripes(opened, chosen_sites, few, images, channels, epoch, seed, settings, drawn, width)
        else:
            rows = [0.26 * max(len(part), 3) for part in chosen_sites]
            shape = (len(opened), 1) if narrow else (1, len(opened))
            height = (sum(rows) + 0.75 * len(rows) if narrow else max(rows) + 0.9) + 0.7
            figure = StripeFigure(settings, max(6.9, 2.6 * len(opened)), height, drawn, printed=width)
            ratios = {"height_ratios": rows} if narrow else {}
            grid = figure.subplots(*shape, squeeze=False, sharex=kind == "std", **ratios)  # type: ignore[call-overload]
            endings = []
            for axes, part in zip(grid.flat, chosen_sites, strict=True):
                names, ending = short_names(list(part))
                axes.set_yticks(range(len(names)), names)
                endings.append(ending)
            draw = _indices if kind == "index" else _spreads
            notes = draw(figure, list(grid.flat), opened, chosen_sites, epoch)
            notes += [ending_note(endings[0])] if len(set(endings)) == 1 else []
            for axes, name in zip(grid.flat, titles, strict=True):
                room = 72 * figure.get_figwidth() / (1.3 * shape[1])
                axes.set_title(wrapped(name, room, axes.title.get_fontsize()))
        data = dict.fromkeys(data_name(capture.data) for capture in opened)
        random = [capture.has_random_weights for capture in opened]
        weights = "random weights" if all(random) else ""
        for name, part in zip(titles, chosen_sites, strict=True):
            if still := still_note(part):
                notes.append(f"{name}: {still}")
        figure.caption(" · ".join(part for part in [", ".join(data), weights, *notes] if part))
        return figure


def _indices(
    figure: StripeFigure, panels: list[Axes], captures: list[Capture], sites: list[Sites], epoch: int | None
) -> list[str]:
    """Draw stripe indices, sites × epochs and the control behind them, with one colour bar for all."""
    if epoch is not None:
        raise StripeError("A plot of kind 'index' has no epoch to choose; it shows all.")
    for axes, capture, part in zip(panels, captures, sites, strict=True):
        matrix = np.stack([stripe_index(data["attention"]).values for data in part.values()])
        control = control_of(capture)
        if control:
            of_control = [stripe_index(control[1].sites[name]["attention"]).values for name in part]
            matrix = np.concatenate([matrix, np.stack(of_control)], axis=1)
        image = heatmap(axes, matrix, limits=(0.0, 1.0))
        label_epochs(axes, capture.epochs, room=5)
        if control:
            last = len(capture.epochs)
            axes.axvline(last - 0.5, color=axes.get_facecolor(), linewidth=2)
            ticks = [*axes.get_xticks(), last]
            # An epoch's number beside the control's name would run into it.
            names = {int(tick): text.get_text() for tick, text in zip(ticks, axes.get_xticklabels(), strict=False)}
            if last > 5:
                names = {tick: text for tick, text in names.items() if last - tick > last / 5}
            axes.set_xticks([*names, last], [*names.values(), control[0]])
        axes.set_xlabel("epoch")
        if matrix.shape[1] <= 6:
            write_numbers(axes, matrix)
    colorbar(image, panels, "stripe index η²", pad=0.02, aspect=25)
    return ["η² is 1 where attention is a constant", *_controls(captures)]


def _controls(captures: list[Capture]) -> list[str]:
    """What the controls in the figure are, for its caption."""
    named = dict.fromkeys(control[0] for control in map(control_of, captures) if control)
    return [f"{name}: the control {CONTROLS.get(name, 'of that name')}" for name in named]


def _spreads(
    figure: StripeFigure, panels: list[Axes], captures: list[Capture], sites: list[Sites], epoch: int | None
) -> list[str]:
    """Draw the spread of channels over the images, before and after attention."""
    for axes, capture, part in zip(panels, captures, sites, strict=True):
        own, control = choose_epoch(capture, epoch), control_of(capture)
        rows = [(SIDES[side], [data[side].sel(epoch=own) for data in part.values()]) for side in sides_of(part)]
        if control:
            of_control = [control[1].sites[name]["attention"].isel(epoch=0) for name in part]
            rows.append((control_look(control[0]), of_control))
        half = 0.24 if control else 0.17
        offsets = np.linspace(-half, half, len(rows)) if len(rows) > 1 else [0.0]
        for (look, values), offset in zip(rows, offsets, strict=True):
            spread_bars(axes, np.array([quantiles(each, relative=False) for each in values]), look, float(offset))
        axes.set_ylim(len(part) - 0.4, -0.6)
    for axes in panels:  # the scale is that of all
        finish(axes)
        spec = axes.get_subplotspec()
        if spec is None or spec.is_last_row():
            axes.set_xlabel("σ of a channel (log scale)")
    entries: dict[str, Any] = {}
    for axes in panels:  # of which some may have a control
        entries |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(
        list(entries.values()), list(entries), loc="outside upper left", ncols=3 if figure.get_figwidth() > 5 else 1
    )
    return ["dot: median channel, thick: middle 50 %, thin: 90 % of the channels"]


def _stripes(
    captures: list[Capture],
    all_sites: list[Sites],
    few: bool,
    images: Choice,
    channels: Choice,
    epoch: int | None,
    seed: int,
    settings: Mapping[str, Any],
    drawn: dict[str, Any],
    width: Width | None,
) -> tuple[StripeFigure, list[str]]:
    """Draw attention, images × channels: one row of panels for each site, one column for each capture."""
    common = [name for name in all_sites[0] if all(name in part for part in all_sites)]
    if common:
        some = [common[i] for i in sorted({0, len(common) // 2, len(common) - 1})] if few else common
        chosen = [some for _ in captures]
    else:
        chosen = [list(choose_sites(capture, None, CHANNEL_KINDS, 3)) for capture in captures]
    down = max(map(len, chosen))
    shortened = [short_names(names) for names in chosen]
    short = [dict(zip(names, shorter, strict=True)) for names, (shorter, _) in zip(chosen, shortened, strict=True)]
    endings = {ending for _, ending in shortened}
    figure = StripeFigure(settings, max(6.9, 2.4 * len(captures)), 1.6 * down + 0.6, drawn, printed=width)
    grid = figure.subplots(down, len(captures), squeeze=False)
    for row in range(down):
        matrices = []
        for number, (axes, capture, part, names) in enumerate(zip(grid[row], captures, all_sites, chosen, strict=True)):
            if row >= len(names):
                axes.remove()
                continue
            values = columns(part[names[row]]["attention"].sel(epoch=choose_epoch(capture, epoch)))
            rows = choose(images, capture.images, what="image", seed=seed, classes=capture.labels)
            ids = np.arange(values.sizes["channel"])
            kept = choose(channels, ids, what="channel", seed=seed)
            matrices.append((axes, number, names[row], values, values.isel(image=rows, channel=kept).values))
            number_axis(axes.xaxis, ids[kept], 3)
            number_axis(axes.yaxis, capture.images[rows], 4)
        drawn_values = np.concatenate([matrix.ravel() for *_, matrix in matrices])
        limits, flat = readable_limits(drawn_values)
        below, above = (drawn_values < limits[0]).any(), (drawn_values > limits[1]).any()
        extend = "both" if below and above else "min" if below else "max" if above else "neither"
        for axes, number, name, values, matrix in matrices:
            image = heatmap(axes, matrix, limits=limits)
            room = 72 * figure.get_figwidth() / (1.6 * len(captures))
            named = wrapped(short[number][name], room, 0.8 * settings["font.size"])
            axes.set_title(f"{named}\n{_with_control(captures[number], name, values)}", fontsize="small")
        bar = colorbar(image, [axes for axes, *_ in matrices], "", aspect=14, pad=0.02, extend=extend)
        bar.ax.set_xlabel("v", fontsize="small", labelpad=7)
        drawn.setdefault("sites", []).append({"names": [name for _, _, name, *_ in matrices], "range": limits})
        if flat:
            drawn["sites"][-1]["flat"] = flat
    for axes, name in zip(grid[0], network_names(captures), strict=True):
        room = 72 * figure.get_figwidth() / (1.6 * len(captures))
        axes.set_title(
            wrapped(name, room, 0.8 * settings["font.size"]) + "\n" + axes.get_title("left"), fontsize="small"
        )
    for axes in (panel for panel in grid[:, 0] if panel.figure):
        axes.set_ylabel("image")
    for axes in (panel for panel in grid[-1] if panel.figure):
        axes.set_xlabel("channel")
    notes = ["v: attention value", "colours of a row: 1–99 % quantiles of its values", f"sampled with seed {seed}"]
    if any("flat" in part for part in drawn["sites"]):
        notes.append("a row whose values are nearly one is drawn with wider colours")
    notes += [ending_note(ending) for ending in endings if len(endings) == 1]
    return figure, notes + _controls(captures)


def _with_control(capture: Capture, site: str, values: xr.DataArray) -> str:
    """The stripe index of a site, and that of the same site in the control."""
    index, control = index_text(float(stripe_index(values))), control_of(capture)
    if control is None:
        return index
    of_control = float(stripe_index(control[1].sites[site]["attention"].isel(epoch=0)))
    return f"{index} ({control[0]} {index_text(of_control).removeprefix('η² ').removeprefix('= ')})"
