"""What detectors find, in the page: pictures within it, a note where they are damaged, nothing for classifiers."""

import base64
import io
from types import SimpleNamespace

import numpy as np
from PIL import Image

from stripe.report.predictions import predictions_pictures, transfer_pictures
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


def test_what_style_transfer_makes_of_images(tmp_path):
    (tmp_path / "a" / "pictures").mkdir(parents=True)
    images = np.full((2, 8, 12, 3), 10, np.uint8)
    numbers = {"content_loss": [1.0, 2.0], "style_loss": [30.0, 40.0], "epoch": 3, "style": images[:1]}
    np.savez(tmp_path / "a" / "pictures" / "last.npz", content=images, made=images + 80, **numbers)
    style, notes = SimpleNamespace(path=tmp_path / "a", settings={"task": {"name": "style"}}), []
    found = transfer_pictures([style], notes)
    assert found[1]["text"] == (
        "Held-out image 2: as it is, and in the style after epoch 3; content loss 2, style loss 40"
    )
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(found[1]["picture"].partition(",")[2]))))
    assert (pixels[:, :12] == 10).all()
    assert (pixels[:, 20:] == 90).all()
    (tmp_path / "a" / "pictures" / "last.npz").write_bytes(b"no archive")
    assert transfer_pictures([style], notes) == []
    assert "is damaged" in notes[0]
    assert transfer_pictures([run(tmp_path / "b")], notes) == []
