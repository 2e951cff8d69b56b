"""Style transfer: held-out images, and what the networks of several runs make of them."""

from collections.abc import Sequence
from typing import Any

from stripe.errors import StripeError
from stripe.names import data_name, without_folders
from stripe.plots.common import add_thumbnail_title
from stripe.plots.figure import StripeFigure, wrapped
from stripe.plots.kinds import kind
from stripe.plots.runs import Arrays, RunLike, by_network, folder_name, read_arrays
from stripe.plots.select import NothingToDrawError
from stripe.plots.style import Width, printed_width, styled

__all__ = ["arrays_of", "transfer"]

_ROOM = 1.2  # inches of a picture below which two losses stand side by side

PICTURES = "pictures/last.npz"
"""Where a run keeps what its network makes of held-out images, see ``stripe.tasks.style``."""

ARRAYS = ("style", "content", "made", "content_loss", "style_loss", "epoch")


@kind("runs", "style transfer: what networks make of held-out images", paper="fig. 5", place=8)
def transfer(
    runs: Sequence[RunLike], *, images: int = 3, style: str = "paper", width: Width | None = None
) -> StripeFigure:
    """Draw a row for each image, and a column for each network after that of the images themselves.

    Below each picture stand its content loss and its style loss, each with the factor of the training. The picture
    whose style was learned is beside the title of the first column. Paper: fig. 5, 20, 21, 22.

    Of runs that differ in nothing but the seed the first is drawn.

    Args:
        runs: ``stripe.training.Run`` of style transfer, trained on the same data.
        images: Number of images.
        style: Name of a style of the figure, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.

    Raises:
        NothingToDrawError: A run is none of style transfer, or has not finished an epoch, or the runs are of different
            images.
        StripeError: A file is damaged.

    Example:
        >>> from stripe import plots
        >>> from stripe.training import Run
        >>> plots.transfer([Run(Path("runs/in")), Run(Path("runs/bn")), Run(Path("runs/asr"))])  # doctest: +SKIP
    """
    if images < 1:
        raise StripeError(f"images={images}: at least one image is drawn")
    groups = by_network(runs)
    if not groups:
        raise StripeError("transfer needs at least one run")
    firsts = [group[0] for group in groups.values()]
    arrays = [arrays_of(run) for run in firsts]
    shown = arrays[0]["content"]
    for run, other in zip(firsts[1:], arrays[1:], strict=True):
        if other["content"].shape != shown.shape or (other["content"] != shown).any():
            raise NothingToDrawError(
                f"{run.path} shows other images than {firsts[0].path}: give runs of the same data, image size and "
                "number of pictures"
            )
    count = min(images, len(shown))
    titles = _titles(firsts)
    with styled(style) as settings:
        across = 1 + len(firsts)
        side = (printed_width(width) or 1.5 * across) / across
        crowded = side < _ROOM
        between = " |\n" if crowded else " | "
        drawn = {
            "kind": "transfer",
            "runs": {title: str(run.path) for title, run in zip(titles, firsts, strict=True)},
            "epochs": [int(each["epoch"]) for each in arrays],
            "content_loss": [each["content_loss"][:count].tolist() for each in arrays],
            "style_loss": [each["style_loss"][:count].tolist() for each in arrays],
        }
        tall = side * shown.shape[1] / shown.shape[2]
        figure = StripeFigure(settings, 1.5 * across, (tall + 0.24) * count + 0.75, drawn, printed=width)
        grid = figure.subplots(count, across, squeeze=False)
        for row in range(count):
            for column, axes in enumerate(grid[row]):
                pixels = shown if column == 0 else arrays[column - 1]["made"]
                axes.imshow(pixels[row], interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if column:
                    losses = (arrays[column - 1][f"{name}_loss"][row] for name in ("content", "style"))
                    axes.set_xlabel(between.join(f"{loss:.3g}" for loss in losses), fontsize="x-small", labelpad=2)
        add_thumbnail_title(grid[0, 0], "style" if crowded else "style\nbelow: content", arrays[0]["style"][0])
        if crowded:
            grid[-1, 0].set_xlabel("content", fontsize="x-small", labelpad=2)
        for axes, title in zip(grid[0, 1:], titles, strict=True):
            lines = [wrapped(line, 72 * side, 0.85 * settings["font.size"]) for line in title.split("\n")]
            axes.set_title("\n".join(lines), fontsize="small", loc="center")
        figure.caption(_caption(firsts, arrays))
        figure.fit_height()
        return figure


def arrays_of(run: RunLike) -> Arrays:
    """The pictures of a run, and their losses.

    Raises:
        NothingToDrawError: The run is none of style transfer, has not finished an epoch, or keeps no pictures.
        StripeError: The file is damaged.
    """
    if (run.settings.get("task") or {}).get("name") != "style":
        raise NothingToDrawError(f"{run.path} is no run of style transfer, so it has no pictures to draw.")
    return read_arrays(run, PICTURES, ARRAYS, otherwise="was trained with pictures=0")


def _titles(runs: Sequence[RunLike]) -> list[str]:
    """``IN``, ``BN + ASR (SE)``, ``BN, frozen``; the folder besides where two are alike."""
    titles = [_title(run.settings) for run in runs]
    alike = {title for title in titles if titles.count(title) > 1}
    return [
        f"{title}\n({folder_name(run.path)})" if title in alike else title
        for title, run in zip(titles, runs, strict=True)
    ]


def _title(settings: dict[str, Any]) -> str:
    title = str((settings.get("args") or {}).get("norm", "in")).upper()
    attention, asr = settings.get("attention"), settings.get("asr")
    title += f" + {attention.upper()}" if attention and attention != "none" else ""
    title += f" + ASR ({asr['attention'].upper()})" if asr else ""
    frozen = settings["task"].get("options", {}).get("freeze_norm")
    return title + (f",\nfrozen after {frozen}" if frozen else "")


def _caption(runs: Sequence[RunLike], arrays: Sequence[Arrays]) -> str:
    """What the numbers are · the classifier that compares · data · scales."""
    task = runs[0].settings["task"]
    options, seen = task.get("options", {}), task.get("perceptual", {})
    compared = str(seen.get("model", "a classifier"))
    if seen.get("weights") == "published":
        compared += " with published weights"
    elif "data" in seen:
        compared += f" trained on {data_name(seen['data'])}, epoch {seen.get('epoch', '?')}"
    factors = " and ".join(
        f"{options[f'{name}_weight']:.3g}" for name in ("content", "style") if f"{name}_weight" in options
    )
    notes = [f"content loss | style loss, with the factors {factors}, by {compared}"]
    notes += [f"style: {without_folders(str(options['style']))}"] if "style" in options else []
    notes += dict.fromkeys(data_name(str(run.settings.get("data", ""))) for run in runs)
    notes += dict.fromkeys(run.scale for run in runs)
    epochs = sorted({int(each["epoch"]) for each in arrays})
    notes += [f"after epoch {', '.join(map(str, epochs))}"]
    return " · ".join(notes)
