import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from stripe import plots


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [
        # backbone, attention, asr, fused, parameters, images a second, accuracy
        ("resnet83", "none", "none", False, 870_000, 200.0, 70.0),
        ("resnet83", "se", "none", False, 970_000, 150.0, 71.0),
        ("resnet83", "none", "se", False, 975_000, 180.0, 73.0),
        ("resnet83", "none", "se", True, 870_000, 198.0, 73.0),
        ("resnet83", "ie", "ie", True, 890_000, 160.0, np.nan),
    ]
    frame = pd.DataFrame(
        rows, columns=["backbone", "attention", "asr", "fused", "parameters", "images_per_second", "accuracy"]
    ).assign(model=list("abcde"), flops=2 * 10**8, accuracy_std=[np.nan, 0.5, np.nan, np.nan, np.nan])
    rate = frame["images_per_second"]
    frame = frame.assign(lower_quartile=rate - 2, upper_quartile=rate + 2, relative_speed=rate / rate[0])
    frame.attrs.update({"processor": "an abacus", "precision": "float32"})
    frame.attrs.update({"image_size": 32, "batch_size": 8, "repeats": 3, "accuracy_of": ["cifar10", "3 epochs"]})
    return frame


def test_bars(table) -> None:
    figure = plots.speed(table)
    rate, parameters, flops = figure.axes
    assert [bar.get_width() for bar in rate.patches] == [200, 150, 180, 198, 160]
    assert [bar.get_width() for bar in parameters.patches] == [0.87, 0.97, 0.975, 0.87, 0.89]
    assert {bar.get_width() for bar in flops.patches} == {0.2}
    assert [text.get_text() for text in rate.texts] == ["× 1.00", "× 0.75", "× 0.90", "× 0.99", "× 0.80"]
    assert [label.get_text() for label in rate.get_yticklabels()] == list("abcde")
    backbone, se, unfused, fused, ie = rate.patches
    assert backbone.get_facecolor()[:3] == to_rgb("0.5")
    assert se.get_facecolor() == fused.get_facecolor() != ie.get_facecolor()
    assert unfused.get_facecolor()[:3] == se.get_facecolor()[:3]
    assert unfused.get_alpha() < se.get_alpha()
    assert figure.drawn["table"]["images_per_second"] == [200, 150, 180, 198, 160]
    caption = figure.get_supxlabel().replace("\n", " ")
    assert caption == "an abacus · float32 · 8 images of 32 px a pass · median and quartiles of 3 rounds"


def test_a_table_without_attributes(table, tmp_path) -> None:
    table.attrs.clear()
    plots.save(plots.speed(table.head(1)), tmp_path / "speed.pdf")


def points(axes) -> dict[tuple[float, float], str]:
    return {(line.get_xdata()[0], line.get_ydata()[0]): line.get_marker() for line in axes.lines}


def test_tradeoff(table) -> None:
    figure = plots.tradeoff(table)
    speed, size = figure.axes
    assert points(speed) == {(200, 70): "D", (150, 71): "o", (180, 73): "*", (198, 73): "*"}
    assert set(points(size)) == {(0.87, 70), (0.97, 71), (0.975, 73), (0.87, 73)}
    hollow = [line.get_markerfacecolor() == speed.get_facecolor() for line in speed.lines]
    assert hollow == [False, False, True, False]
    (arrow,) = speed.texts  # from SE to fused ASR(SE)
    assert (arrow.xyann, arrow.xy) == ((150, 71), (198, 73))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("backbone", "with attention", "with ASR"),
        *("SE", "hollow: not fused", "attention to its ASR", "quartiles of the speed, std over seeds"),
    ]
    assert figure.get_supxlabel().replace("\n", " ").endswith("cifar10 · 3 epochs · without an accuracy: e")


def test_a_row_of_panels_a_backbone(table) -> None:
    both = pd.concat([table, table.assign(backbone="resnet164")], ignore_index=True)
    assert [axes.get_title(loc="left") for axes in plots.tradeoff(both).axes] == ["resnet83", "", "resnet164", ""]


def test_without_an_accuracy_there_is_no_tradeoff(table) -> None:
    for nothing in (table.drop(columns="accuracy"), table.assign(accuracy=np.nan)):
        with pytest.raises(plots.NothingToDrawError, match="has no accuracies"):
            plots.tradeoff(nothing)
