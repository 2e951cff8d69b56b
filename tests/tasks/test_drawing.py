"""Pictures of predictions: where boxes and classes are drawn, and the figure made of them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from stripe import plots
from stripe.errors import StripeError
from stripe.tasks.drawing import FILE, draw_classes, draw_objects

GREY = torch.full((3, 40, 60), 128, dtype=torch.uint8)


def changed(picture):
    """Rows and columns of the first and last pixel that is not grey."""
    rows, columns = (picture != 128).any(0).nonzero(as_tuple=True)
    return rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()


def test_a_box_is_drawn_where_it_is():
    """Small images are enlarged eightfold: 320 / 40."""
    objects = {"boxes": torch.tensor([[10.0, 5, 30, 25]]), "labels": torch.tensor([1])}
    picture = draw_objects(GREY, objects, ("a", "b"))
    assert picture.shape == (3, 320, 480)
    assert changed(picture) == pytest.approx((40, 200, 80, 240), abs=3)


def test_what_has_a_low_score_is_not_drawn():
    objects = {
        "boxes": torch.tensor([[10.0, 5, 30, 25], [0, 0, 60, 40]]),
        "labels": torch.tensor([1, 0]),
        "scores": torch.tensor([0.9, 0.1]),
        "masks": torch.zeros(2, 1, 40, 60),
    }
    assert changed(draw_objects(GREY, objects, ("a", "b"))) == pytest.approx((40, 200, 80, 240), abs=3)
    low = draw_objects(GREY, objects | {"scores": torch.tensor([0.1, 0.1])}, ("a", "b"))
    assert changed(low) == pytest.approx((2, 16, 4, 110), abs=8)  # "none from 0.5 on", in its corner
    nothing = {name: value[:0] for name, value in objects.items()}
    assert torch.equal(draw_objects(GREY, nothing, ("a", "b")), low)
    nothing.pop("scores")
    assert (draw_objects(GREY, nothing, ("a", "b")) == 128).all()  # the truth


def test_classes_of_pixels_have_colours_of_their_own():
    classes = torch.zeros(40, 60, dtype=torch.uint8)
    classes[:10, :30], classes[:10, 30:], classes[20:, :] = 1, 2, 255
    picture = draw_classes(GREY, classes, ("a", "bbbb"))
    assert changed(picture) == (0, 79, 0, 479)
    assert not torch.equal(picture[:, 0, 0], picture[:, 0, -1])
    white = [(part == 255).all(0).any().item() for part in (picture[:, 20:60, 60:180], picture[:, 20:60, 300:420])]
    assert white == [True, True]  # the names
    assert (draw_classes(GREY, torch.zeros_like(classes), ("a", "b")) == 128).all()


def run(folder, *, task="detection", pictures=3):
    folder.mkdir()
    arrays = {
        f"{name}_{n}": np.full((8, 12, 3), 20 * n, np.uint8) for name in ("truth", "found") for n in range(pictures)
    }
    np.savez_compressed(folder / FILE, epoch=np.array(7), **arrays)
    settings = {"model": folder.name, "task": {"name": task}, "data": "scenes"}
    return SimpleNamespace(path=folder, settings=settings, scale="tiny", metrics=pd.DataFrame())


def test_the_figure_has_a_row_for_each_image_and_a_column_for_each_network(tmp_path):
    one, two = run(tmp_path / "one"), run(tmp_path / "two")
    figure = plots.draw("predictions", [one, two], images=2)
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert titles == ["truth", "one, epoch 7", "two, epoch 7"]
    assert len(figure.axes) == 6
    assert figure.axes[4].images[0].get_array().max() == 20


@pytest.mark.parametrize(
    ("task", "said"), [("detection", "a score of 0.5 on"), ("segmentation", "each class of pixels has its colour")]
)
def test_the_caption_says_what_is_drawn(tmp_path, task, said):
    caption = plots.draw("predictions", [run(tmp_path / "one", task=task)]).get_supxlabel().replace("\n", " ")
    assert said in caption
    assert ("score" in caption) is (task == "detection")


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(StripeError, match="was trained for classification; predictions are drawn of detectors"):
        plots.draw("predictions", [run(tmp_path / "a", task="classification")])
    with pytest.raises(StripeError, match="shows other images or another truth"):
        plots.draw("predictions", [run(tmp_path / "b"), run(tmp_path / "c", pictures=2)])
    damaged = run(tmp_path / "d")
    (tmp_path / "d" / FILE).write_bytes(b"no archive")
    with pytest.raises(StripeError, match="is damaged"):
        plots.draw("predictions", [damaged])
    (tmp_path / "d" / FILE).unlink()
    with pytest.raises(StripeError, match="has not finished an epoch"):
        plots.draw("predictions", [damaged])
    with pytest.raises(StripeError, match="at least one image"):
        plots.draw("predictions", [run(tmp_path / "e")], images=0)
