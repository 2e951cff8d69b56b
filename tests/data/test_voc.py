"""``voc:``: boxes and masks of hand-made folders, and what is wrong in them."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stripe.data import load
from stripe.errors import StripeError
from stripe.training.holdout import hold_out

Write = Callable[..., Path]


def xml(size: tuple[int, int] | None, *objects: tuple[str, tuple[Any, ...], int]) -> str:
    width, height = size or (0, 0)
    inside = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2), difficult in objects
    )
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{inside}</annotation>"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Six images of 30 x 20 or 20 x 30 pixels, each with a dog and a difficult cat; masks of the first four."""

    def write(where: str = "VOCdevkit/VOC2012", *, lists: bool = True, masks: bool = True) -> Path:
        root = tmp_path / where
        for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
            if (masks or "Segmentation" not in folder) and (lists or "ImageSets" not in folder):
                (root / folder).mkdir(parents=True)
        for number in range(6):
            size = (30, 20) if number % 2 else (20, 30)
            Image.new("RGB", size, (number, 0, 0)).save(root / "JPEGImages" / f"i{number}.jpg")
            text = xml(size, ("dog", (3, 2, 10, 12), 0), ("cat", ("1.0", 1, 20, 20), 1))
            (root / "Annotations" / f"i{number}.xml").write_text(text)
            if masks and number < 4:
                pixels = np.zeros(size[::-1], np.uint8)
                pixels[1:12, 2:10], pixels[0] = 12, 255
                mask = Image.fromarray(pixels, "P")
                mask.putpalette([k % 256 for k in range(768)])
                mask.save(root / "SegmentationClass" / f"i{number}.png")
        if lists:
            for folder, (train, test) in {"Main": ("0 1 2 3", "4 5"), "Segmentation": ("0 1 2", "3")}.items():
                if (root / "ImageSets" / folder).is_dir():
                    for half, names in (("train", train), ("val", test)):
                        text = "".join(f"i{name}\n" for name in names.split())
                        (root / "ImageSets" / folder / f"{half}.txt").write_text(text)
        return root

    return write


def targets_of(split: Any) -> list[dict[str, torch.Tensor]]:
    _, targets = next(iter(split.loader(10, workers=0)))
    return list(targets)


@pytest.mark.parametrize("up", [0, 1, 2])
def test_boxes_and_masks_are_as_they_are_written(up: int, write: Write) -> None:
    folder = write()
    for _ in range(up):
        folder = folder.parent
    data = load(f"voc:{folder}")
    assert (len(data.train), len(data.test), data.everything) == (3, 1, None)
    assert data.annotations == ("boxes", "segmentation")
    assert (len(data.classes), data.classes[7], data.classes[11]) == (20, "cat", "dog")
    images, (first, *_) = next(iter(data.train.loader(10, workers=0)))
    assert [tuple(image.shape) for image in images] == [(3, 30, 20), (3, 20, 30), (3, 30, 20)]
    # VOC counts from 1: columns 3 to 10 are those from 2 up to 10.
    assert first["boxes"].tolist() == [[2, 1, 10, 12], [0, 0, 20, 20]]
    assert first["labels"].tolist() == [11, 7]
    assert first["iscrowd"].tolist() == [False, True]
    assert first["area"].tolist() == [88, 400]
    expected = torch.zeros(30, 20, dtype=torch.uint8)
    expected[1:12, 2:10], expected[0] = 12, 255
    assert torch.equal(first["segmentation"], expected)
    assert data.train.paths[0] == "JPEGImages/i0.jpg"
    again = load(data.spec)
    assert (again.attrs, again.train.paths) == (data.attrs, data.train.paths)


def test_the_longer_lists_have_boxes_alone(write: Write) -> None:
    data = load(f"voc:{write()},set=Main")
    assert (len(data.train), len(data.test), data.annotations) == (4, 2, ("boxes",))
    assert data.spec.endswith("VOC2012,set=Main")
    assert sorted(targets_of(data.test)[0]) == ["area", "boxes", "image_id", "iscrowd", "labels"]


def test_without_lists_one_image_in_five_is_held_out(write: Write) -> None:
    data = load(f"voc:{write(lists=False, masks=False)}", seed=2)
    assert (len(data.train), len(data.test), data.annotations) == (5, 1, ("boxes",))
    assert data.spec.endswith("VOC2012,seed=2")
    assert load(data.spec).test.paths == data.test.paths


def test_classes_of_ones_own(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    root = write()
    text = xml((20, 30), ("zebra", (3, 2, 10, 12), 0))
    (root / "Annotations" / "i0.xml").write_text(text)
    data = load(f"voc:{root}")
    assert (data.classes, data.annotations) == (("cat", "dog", "zebra"), ("boxes",))
    assert "4 masks, as no labelmap.txt says what their numbers mean" in caplog.text
    (root / "labelmap.txt").write_text("# label:color:parts:actions\nbackground:0,0,0::\nzebra:1,1,1::\ndog:2,2,2::\n")
    with pytest.raises(StripeError, match=r"i0\.png has pixels of the number 12, but there are 2 classes"):
        targets_of(load(f"voc:{root}").train)
    for name in ("i0", "i1", "i2", "i3"):
        Image.new("L", (30, 20) if name in ("i1", "i3") else (20, 30), 2).save(
            root / "SegmentationClass" / f"{name}.png"
        )
    data = load(f"voc:{root}")
    assert (data.classes, data.annotations) == (("zebra", "dog"), ("boxes", "segmentation"))
    assert [target["labels"].tolist() for target in targets_of(data.train)] == [[0], [1], [1]]
    assert "3 objects of an unknown class (cat in i1.xml)" in caplog.text  # of i1, i2 and, to test on, i3


def swap(root: Path) -> None:
    Image.new("P", (5, 5)).save(root / "SegmentationClass" / "i0.png")


def colour(root: Path) -> None:
    Image.new("RGB", (20, 30)).save(root / "SegmentationClass" / "i0.png")


def white(root: Path) -> None:
    for file in (root / "SegmentationClass").iterdir():
        with Image.open(file) as mask:
            pixels = np.array(mask)
        Image.fromarray(np.where(pixels == 12, 255, 0).astype(np.uint8)).save(file)


BROKEN: dict[str, tuple[Callable[[Path], Any], str, int]] = {
    "no image": (lambda root: (root / "JPEGImages/i0.jpg").unlink(), "1 image without a file (i0)", 2),
    "no XML": (lambda root: (root / "Annotations/i0.xml").unlink(), "1 image without an XML file (i0)", 2),
    "no mask": (lambda root: (root / "SegmentationClass/i0.png").unlink(), "1 image without a mask (i0)", 2),
    "torn XML": (lambda root: (root / "Annotations/i0.xml").write_text("<annotation>"), "1 unreadable XML file", 2),
    "XML in no encoding": (
        lambda root: (root / "Annotations/i0.xml").write_text('<?xml version="1.0" encoding="klingon"?><annotation/>'),
        "1 unreadable XML file (i0.xml)",
        2,
    ),
    "white masks": (white, "4 masks, as they hold 0 and 255 alone", 3),
    "torn image": (lambda root: (root / "JPEGImages/i0.jpg").write_bytes(b"x"), "1 unreadable image (i0.jpg)", 2),
    "torn mask": (lambda root: (root / "SegmentationClass/i0.png").write_bytes(b"x"), "1 unreadable mask", 2),
    "mask of another size": (swap, "1 mask of another size than the image (i0.png)", 2),
    "mask in colour": (colour, "1 mask that hold colours", 2),
    "another size": (
        lambda root: (root / "Annotations/i0.xml").write_text(xml((50, 50), ("dog", (1, 1, 5, 5), 0))),
        "1 image of another size than the annotations say (i0.jpg: 20x30, not 50x50)",
        2,
    ),
    "box outside": (
        lambda root: (root / "Annotations/i0.xml").write_text(xml(None, ("dog", (50, 1, 55, 5), 0))),
        "1 box outside of the image (in i0.xml)",
        3,
    ),
    "box of no area": (
        lambda root: (root / "Annotations/i0.xml").write_text(xml(None, ("dog", (9, 1, 2, 5), 0))),
        "1 box of no area (in i0.xml)",
        3,
    ),
    "no box": (
        lambda root: (root / "Annotations/i0.xml").write_text(xml(None, ("dog", ("a", 1, 2, 5), 0))),
        "1 object without a name or a box (in i0.xml)",
        3,
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_wrong_is_counted_in_one_line(fault: str, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    change, said, left = BROKEN[fault]
    root = write()
    change(root)
    data = load(f"voc:{root}")
    assert len(data.train) == left
    assert len(targets_of(data.train)) == left
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert lines[0].startswith(f"{root}: left out or changed are ")
    assert said in lines[0]


def test_difficult_objects_are_not_counted_among_those_to_train_on(write: Write) -> None:
    root = write(lists=False, masks=False)
    (root / "Annotations" / "i0.xml").write_text(xml((20, 30)))
    data = load(f"voc:{root}")
    assert data.everything is not None
    assert data.everything.objects.tolist() == [0, 1, 1, 1, 1, 1]
    for split in (data.train, data.test, *hold_out(data.everything)):
        assert split.objects.tolist() == [int("i0" not in path) for path in split.paths]


def test_images_in_both_lists_are_named(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    root = write()
    (root / "ImageSets/Segmentation/val.txt").write_text("i3\ni1\n")
    load(f"voc:{root}")
    assert f"voc:{root}: of the images to test on, 1 of 2 are also trained on (JPEGImages/i1.jpg)" in caplog.text


def test_what_is_no_voc_is_refused(write: Write, tmp_path: Path) -> None:
    form = "give voc:DIR, where DIR or DIR/VOCdevkit/VOC2012 has JPEGImages/"
    with pytest.raises(StripeError, match=f"There is no folder .*none; {form}"):
        load(f"voc:{tmp_path / 'none'}")
    with pytest.raises(StripeError, match=f"has no JPEGImages/; {form}"):
        load(f"voc:{tmp_path}")
    root = write()
    (root / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(StripeError, match=r"must have the lists train\.txt .* and has train\.txt"):
        load(f"voc:{root}")
    (root / "ImageSets/Segmentation/val.txt").write_text("\n")
    with pytest.raises(StripeError, match=r"val\.txt is empty"):
        load(f"voc:{root}")
    (root / "ImageSets/Segmentation/val.txt").write_text("nobody\n")
    with pytest.raises(StripeError, match=r"none of its images can be used\. Left out are .*1 image without a file"):
        load(f"voc:{root}")
    write("VOCdevkit/VOC2007")
    shutil.rmtree(root)
    root = write(lists=False, masks=False)
    (root / "labelmap.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(StripeError, match=r"labelmap\.txt cannot be read as text in UTF-8"):
        load(f"voc:{root}")
    (root / "labelmap.txt").unlink()
    for file in (root / "Annotations").iterdir():
        file.write_text("<")
    with pytest.raises(StripeError, match=r"neither boxes nor masks .* Left out are 6 unreadable XML files \(i0\.xml"):
        load(f"voc:{root}")
    with pytest.raises(StripeError, match="has several years: say which"):
        load(f"voc:{tmp_path}")
