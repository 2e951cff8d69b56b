"""Pictures of style transfer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stripe import plots
from stripe.errors import StripeError


@dataclass
class Run:
    path: Path
    settings: dict[str, Any]
    scale: str = "2 epochs of all 100 training images at 6 px"
    metrics: pd.DataFrame = None  # type: ignore[assignment]


def make_run(folder: Path, name: str, *, first: int = 0, norm: str = "bn", asr: str = "", **options: Any) -> Run:
    pixels = np.arange(first, first + 3 * 4 * 6 * 3).reshape(3, 4, 6, 3).astype(np.uint8)
    (folder / name / "pictures").mkdir(parents=True)
    np.savez(
        folder / name / "pictures" / "last.npz",
        style=np.zeros((1, 8, 8, 3), np.uint8),
        content=pixels,
        made=255 - pixels,
        content_loss=np.array([1.0, 20.0, 3.0]),
        style_loss=np.array([1234.5, 2.0, 1.0]),
        epoch=2,
    )
    task = {
        "name": "style",
        "options": {"style": "/home/me/hokusai.jpg", "content_weight": 1e5, "style_weight": 1e8, **options},
        "perceptual": {"model": "resnet20-basic", "data": "folder:/home/me/cifar", "epoch": 5},
    }
    described = {"model": "style", "args": {"norm": norm}, "data": "folder:/home/me/photos", "task": task}
    return Run(folder / name, {**described, "asr": {"attention": asr} if asr else None, "seed": 0})


def titles(figure: plots.StripeFigure) -> list[str]:
    return [axes.get_title("center") for axes in figure.axes if axes.get_title("center")]


def test_rows_are_images_and_columns_are_networks(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, "a", norm="in"),
        make_run(tmp_path, "b"),
        make_run(tmp_path, "c", asr="se"),
        make_run(tmp_path, "d", freeze_norm=3),
    ]
    figure = plots.transfer(runs, images=2)
    assert titles(figure) == ["IN", "BN", "BN + ASR (SE)", "BN,\nfrozen after 3"]
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2 * 5
    shown = panels[6].images[0].get_array()
    assert np.array_equal(np.asarray(shown), np.load(tmp_path / "a/pictures/last.npz")["made"][1])
    assert panels[0].get_xlabel() == ""
    assert panels[1].get_xlabel() == "1 | 1.23e+03"
    assert panels[6].get_xlabel() == "20 | 2"
    assert figure.drawn["content_loss"] == [[1.0, 20.0]] * 4


def test_the_caption_says_what_compared_and_no_folders(tmp_path: Path) -> None:
    figure = plots.transfer([make_run(tmp_path, "a")])
    text = figure._supxlabel.get_text().replace("\n", " ")  # type: ignore[attr-defined]
    assert "by resnet20-basic trained on folder cifar, epoch 5" in text
    assert "style: hokusai.jpg" in text
    assert "factors 1e+05 and 1e+08" in text
    assert "/home" not in text


def test_networks_that_are_called_alike_have_their_folder_besides(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, "one"), make_run(tmp_path, "two", style="drawn:rings")]
    assert titles(plots.transfer(runs)) == ["BN\n(one)", "BN\n(two)"]


def test_runs_that_cannot_be_drawn(tmp_path: Path) -> None:
    run, other = make_run(tmp_path, "a"), make_run(tmp_path, "b", first=1, norm="in")
    with pytest.raises(StripeError, match="b shows other images than"):
        plots.transfer([run, other])
    with pytest.raises(StripeError, match="at least one image"):
        plots.transfer([run], images=0)
    with pytest.raises(StripeError, match="at least one run"):
        plots.transfer([])
    (run.path / "pictures" / "last.npz").write_bytes(b"PK no archive")
    with pytest.raises(StripeError, match=r"last\.npz is damaged"):
        plots.transfer([run])
    np.savez(run.path / "pictures" / "last.npz", epoch=2)
    with pytest.raises(StripeError, match=r"last\.npz is damaged: it has no style, content"):
        plots.transfer([run])
    (run.path / "pictures" / "last.npz").unlink()
    with pytest.raises(plots.NothingToDrawError, match=r"has no pictures/last\.npz: it has not finished an epoch"):
        plots.transfer([run])
    run.settings["task"] = None
    with pytest.raises(plots.NothingToDrawError, match="is no run of style transfer"):
        plots.transfer([run])
