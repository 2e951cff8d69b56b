from dataclasses import dataclass, field
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
    metrics: pd.DataFrame
    scale: str = field(default="4 epochs of all 100 training images")


def make_run(test: list[float], name: str = "a", seed: int = 0, val: list[float] | None = None, **settings: Any) -> Run:
    count = len(test)
    metrics = pd.DataFrame(
        {
            "epoch": range(1, count + 1),
            "learning_rate": [0.1, 0.1, 0.01, 0.01][:count],
            "train_loss": [2.0, 1.0, 0.5, 0.25][:count],
            "train_accuracy": [20.0, 40.0, 60.0, 80.0][:count],
            "test_loss": [3.0, 2.0, 1.0, 50.0][:count],
            "test_accuracy": test,
            "val_accuracy": val or [np.nan] * count,
        }
    )
    select = "val" if val else "test"
    described = {"model": name, "data": "folder:/home/me/photos", "select": select, "seed": seed, **settings}
    return Run(Path("runs") / f"{name}-{seed}", described, metrics)


def labels(figure: plots.StripeFigure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_of_two_networks() -> None:
    figure = plots.training([make_run([10, 30, 50, 40]), make_run([11, 31], "b", val=[2, 1], attention="se")])
    loss, accuracy = figure.axes
    curves = [line for line in accuracy.lines if len(line.get_xdata()) > 2 or line.get_linestyle() == "-"]
    assert [line.get_ydata().tolist() for line in curves] == [[20, 40, 60, 80], [10, 30, 50, 40], [11, 31]]
    assert curves[0].get_color() == curves[1].get_color() != curves[2].get_color()
    # The rate drops before epoch 3.
    assert [line.get_xdata()[0] for line in accuracy.lines if line.get_linestyle() == ":"] == [2.5]
    # b's best epoch is chosen by the held-out images.
    assert labels(figure) == ["a:  40.00 %, best 50.00 %", "b+se:  31.00 %, best 11.00 %"]
    assert figure.drawn["runs"] == {"a": ["runs/a-0"], "b+se": ["runs/b-0"]}
    caption = figure.get_supxlabel().replace("\n", " ")
    assert "folder photos" in caption
    assert "/home/me" not in caption
    assert "held-out training images" in caption
    # 1.15 times the 0.9 quantile of 3, 2, 1, 50: the one explosion does not flatten the rest
    assert loss.get_ylim() == (0, pytest.approx(1.15 * (3 + 0.7 * 47)))


def test_seeds_become_a_mean_and_a_range() -> None:
    figure = plots.training([make_run([10, 30, 50]), make_run([20, 50, 60], seed=1)])
    accuracy = figure.axes[1]
    curve = next(line for line in accuracy.lines if line.get_linestyle() == "-")
    assert curve.get_ydata().tolist() == [15, 40, 55]
    shade = accuracy.collections[-1].get_paths()[0].vertices
    assert {(1, 10), (1, 20), (2, 30), (2, 50), (3, 50), (3, 60)} <= set(map(tuple, shade.tolist()))
    assert labels(figure) == ["a:  55.00 ± 7.07 %, best 55.00 ± 7.07 %"]
    assert "mean and range over seeds" in figure.get_supxlabel().replace("\n", " ")


def test_a_run_that_is_not_finished_and_one_of_one_epoch(tmp_path: Path) -> None:
    figure = plots.training([make_run([10, 30, 50, 60]), make_run([20], seed=1), make_run([5], "b")])
    plots.save(figure, tmp_path / "training.svg")
    assert labels(figure) == ["a:  40.00 ± 28.28 %, best 40.00 ± 28.28 %", "b:  5.00 %, best 5.00 %"]


def test_one_epoch_is_one_tick_and_two_points_that_can_be_told_apart() -> None:
    axes = plots.training([make_run([20])]).axes[1]
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    train, test = axes.lines
    assert (train.get_markerfacecolor(), test.get_markerfacecolor()) == ("none", "C0")
    assert train.get_markersize() > test.get_markersize()
    many = plots.training([make_run([20]), make_run([5, 10], "b")]).axes[1]
    assert {line.get_marker() for line in many.lines} == {"o", "None"}


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(plots.NothingToDrawError, match="runs/a-0 has not finished an epoch"):
        plots.training([make_run([])])
    with pytest.raises(StripeError, match="0 networks in one picture: draw 1 to 6"):
        plots.training([])
    with pytest.raises(StripeError, match="7 networks"):
        plots.training([make_run([10], f"net{number}") for number in range(7)])


@pytest.mark.parametrize(("score", "bottom"), [([0.0, 0.0], 0), ([0.0, 30.0], 0), ([90.0, 91.0], None)])
def test_the_axis_of_a_score_does_not_go_below_zero(score: list[float], bottom: float | None) -> None:
    run = make_run(score)
    run.metrics["train_accuracy"] = score
    low, high = plots.training([run]).axes[1].get_ylim()
    assert high > max(score)
    assert low == bottom if bottom is not None else 0 < low < min(score)
