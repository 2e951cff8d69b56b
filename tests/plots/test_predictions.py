"""Pictures of what detectors find, and the height of figures whose panels keep their shape."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stripe import plots
from stripe.errors import StripeError
from tests.plots.test_training import make_run
from tests.plots.test_transfer import make_run as make_transfer


def detector(path: Path, *, first: int = 10, task: str = "detection") -> Any:
    """A run that shows two images, a wide one and a high one."""
    path.mkdir()
    shapes = [(30, 60, 3), (60, 40, 3)]
    pictures = {
        f"{name}_{number}": np.full(shape, value + number, np.uint8)
        for name, value in (("truth", first), ("found", 90))
        for number, shape in enumerate(shapes)
    }
    np.savez(path / "predictions.npz", epoch=7, **pictures)
    run = make_run([10.0, 20.0], task={"name": task}, model=f"fasterrcnn:{path.name}")
    run.path = path
    return run


def test_rows_are_images_and_columns_the_truth_and_what_is_found(tmp_path: Path) -> None:
    figure = plots.draw("predictions", [detector(tmp_path / "a"), detector(tmp_path / "b")])
    assert [int(axes.images[0].get_array().max()) for axes in figure.axes] == [10, 90, 90, 11, 91, 91]
    titles = [axes.get_title("center") for axes in figure.axes[:3]]
    assert titles[0] == "truth"
    assert all(title.endswith(f"{name}, epoch 7") for title, name in zip(titles[1:], "ab", strict=True))
    assert "detections from a score of 0.5 on" in figure.get_supxlabel().replace("\n", " ")


def test_runs_that_cannot_be_drawn(tmp_path: Path) -> None:
    run, other = detector(tmp_path / "a"), detector(tmp_path / "b", first=11)
    with pytest.raises(StripeError, match="b shows other images or another truth"):
        plots.draw("predictions", [run, other])
    (run.path / "predictions.npz").unlink()
    with pytest.raises(plots.NothingToDrawError, match="has not finished an epoch"):
        plots.draw("predictions", [run])
    with pytest.raises(plots.NothingToDrawError, match="was trained for style"):
        plots.draw("predictions", [detector(tmp_path / "c", task="style")])


@pytest.mark.parametrize("style", ["paper", "notebook"])
@pytest.mark.parametrize("width", ["column", "page", None])
@pytest.mark.parametrize("kind", ["predictions", "transfer"])
def test_no_band_is_left_empty(kind: str, width: Any, style: str, tmp_path: Path) -> None:
    runs = [detector(tmp_path / "a")] if kind == "predictions" else [make_transfer(tmp_path, "a")]
    figure = plots.draw(kind, runs, width=width, style=style)
    path = plots.save(figure, tmp_path / "picture.png")
    for axes in figure.axes:
        room, panel = axes.get_position(original=True), axes.get_position()
        assert (room.width / panel.width, room.height / panel.height) == pytest.approx((1, 1), abs=0.05)
    with Image.open(path) as picture:
        pixels, dots = np.asarray(picture.convert("L")), picture.info["dpi"][0]
        assert json.loads(picture.info["Description"])["drawn"]["kind"] == kind
    drawn = np.flatnonzero((pixels < 250).any(axis=1))
    edges = np.diff(np.concatenate([[0], drawn, [len(pixels)]]))
    assert edges.max() < 0.16 * dots  # inches
