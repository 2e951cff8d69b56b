"""The predictions of a run in the report: pictures beside the truth."""

import base64
import io
from types import SimpleNamespace

import numpy as np
from PIL import Image

from stripe.report.predictions import predictions_pictures
from stripe.tasks.drawing import FILE


def run(folder, task="detection", pictures=5):
    folder.mkdir()
    arrays = {
        f"{name}_{n}": np.full((8, 12, 3), value, np.uint8)
        for name, value in (("truth", 10), ("found", 90))
        for n in range(pictures)
    }
    np.savez_compressed(folder / FILE, epoch=np.array(7), **arrays)
    return SimpleNamespace(path=folder, settings={"task": {"name": task}})


def test_truth_and_predictions_are_side_by_side(tmp_path):
    notes = []
    found = predictions_pictures([run(tmp_path / "a", task="classification"), run(tmp_path / "b")], notes)
    assert [each["text"] for each in found] == [
        f"Test image {n}: truth, and what is found after epoch 7" for n in (1, 2, 3, 4)
    ]
    content = base64.b64decode(found[0]["picture"].removeprefix("data:image/png;base64,"))
    pixels = np.array(Image.open(io.BytesIO(content)))
    assert pixels.shape == (8, 32, 3)
    assert (pixels[:, :12] == 10).all()
    assert (pixels[:, 20:] == 90).all()
    assert notes == []


def test_what_is_damaged_is_said(tmp_path):
    damaged, notes = run(tmp_path / "a"), []
    (tmp_path / "a" / FILE).write_bytes(b"no archive")
    assert predictions_pictures([damaged], notes) == []
    assert "is damaged" in notes[0]
