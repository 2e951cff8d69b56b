"""``coco:``: boxes, outlines and classes of a hand-made file, its layouts, and what is wrong in files."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from stripe.data import Data, load
from stripe.errors import StripeError

SIZES = {"a.png": (40, 30), "b.png": (20, 50), "c.png": (16, 16)}
"""Width and height: one is portrait."""


def write_picture(path: Path, size: tuple[int, int], mode: str = "RGB", **settings: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 100 if mode == "L" else (90, 120, 60, 10)[: len(Image.new(mode, (1, 1)).getbands())]).save(
        path, **settings
    )


def known() -> dict[str, Any]:
    """Categories 7 (cat) and 3 (dog): two objects in a.png, a crowd and an object in b.png, none in c.png."""
    return {
        "images": [
            {"id": 10 * (k + 1), "file_name": name, "width": width, "height": height}
            for k, (name, (width, height)) in enumerate(SIZES.items())
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 10,
                "category_id": 7,
                "bbox": [2, 3, 10, 8],
                "area": 80,
                "iscrowd": 0,
                "segmentation": [[2, 3, 12, 3, 12, 11, 2, 11]],
            },
            {
                "id": 2,
                "image_id": 20,
                "category_id": 3,
                "bbox": [0, 0, 20, 2],
                "area": 40,
                "iscrowd": 1,
                # Down the columns: of the 50 pixels of each of the 20 the upper two.
                "segmentation": {"size": [50, 20], "counts": [0] + [2, 48] * 20},
            },
            {
                "id": 3,
                "image_id": 20,
                "category_id": 7,
                "bbox": [5, 40, 10, 10],
                "area": 50,
                "iscrowd": 0,
                "segmentation": [[5, 40, 15, 40, 15, 50]],
            },
            {
                "id": 4,
                "image_id": 10,
                "category_id": 3,
                "bbox": [20, 0, 20, 30],
                "area": 600,
                "iscrowd": 0,
                "segmentation": [[20, 0, 40, 0, 40, 10, 20, 10], [20, 20, 40, 20, 40, 30, 20, 30]],
            },
        ],
    }


Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes the three images and their annotations into one folder; ``change`` may break them before."""

    def write(change: Change | None = None, folder: str = "set", file: str = "labels.json", images: str = "") -> Path:
        said = known()
        if change:
            change(said)
        for name, size in SIZES.items():
            write_picture(tmp_path / folder / images / name, size)
        (tmp_path / folder / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / file).write_text(json.dumps(said))
        return tmp_path / folder

    return write


def batch(split: Any, **settings: Any) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    images, targets = next(iter(split.loader(100, workers=0, **settings)))
    return images, targets


def everything(
    path: Path | str, **settings: Any
) -> tuple[Data, list[torch.Tensor], dict[str, dict[str, torch.Tensor]]]:
    """All images of a set that is in no halves; the targets by the names of the files."""
    data = load(f"coco:{path}", **settings)
    assert data.everything is not None
    images, targets = batch(data.everything)
    return data, images, dict(zip(data.everything.paths, targets, strict=True))


def test_the_hand_made_file_gives_what_is_in_it(write: Callable[..., Path]) -> None:
    data, images, targets = everything(write())
    assert data.classes == ("dog", "cat")  # in the order of their ids, 3 and 7
    assert data.annotations == ("boxes", "masks", "segmentation")
    assert data.image_size is None
    assert [tuple(image.shape) for image in images] == [(3, 30, 40), (3, 50, 20), (3, 16, 16)]
    assert [target["image_id"].item() for target in targets.values()] == [10, 20, 30]
    a, b, c = targets.values()
    assert a["boxes"].tolist() == [[2, 3, 12, 11], [20, 0, 40, 30]]
    assert a["labels"].tolist() == [1, 0]
    assert a["area"].tolist() == [80, 600]
    assert b["boxes"].tolist() == [[0, 0, 20, 2], [5, 40, 15, 50]]
    assert b["iscrowd"].tolist() == [True, False]
    expected = torch.zeros(2, 30, 40, dtype=torch.bool)
    expected[0, 3:11, 2:12] = True
    expected[1, :10, 20:] = expected[1, 20:, 20:] = True
    assert torch.equal(a["masks"], expected)
    crowd = torch.zeros(50, 20, dtype=torch.bool)
    crowd[:2] = True
    assert torch.equal(b["masks"][0], crowd)
    assert torch.equal(a["segmentation"], (expected[0] * 2 + expected[1] * 1).to(torch.uint8))
    shapes = {key: tuple(value.shape) for key, value in c.items()}
    assert shapes == {
        "image_id": (),
        "boxes": (0, 4),
        "labels": (0,),
        "area": (0,),
        "iscrowd": (0,),
        "masks": (0, 16, 16),
        "segmentation": (16, 16),
    }
    assert [a[key].dtype for key in ("boxes", "labels", "area", "iscrowd", "masks", "segmentation", "image_id")] == [
        torch.float32,
        torch.int64,
        torch.float32,
        torch.bool,
        torch.bool,
        torch.uint8,
        torch.int64,
    ]


def test_masks_are_those_of_pycocotools(write: Callable[..., Path], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)

    def add(said: dict[str, Any]) -> None:
        for number in range(40):
            points = generator.uniform(-4, 44, 2 * generator.integers(3, 9)).round(2).tolist()
            other = generator.uniform(0, 30, 8).round(2).tolist()
            pixels = np.asfortranarray(generator.random((30, 40)) < 0.3, dtype=np.uint8)
            runs = coco_mask.encode(pixels)
            forms: list[Any] = [[points], [points, other], {"size": [30, 40], "counts": runs["counts"].decode()}]
            said["annotations"].append(
                {
                    "id": 100 + number,
                    "image_id": 10,
                    "category_id": 3,
                    "bbox": [1, 1, 30, 20],
                    "area": 9,
                    "iscrowd": 0,
                    "segmentation": forms[number % 3],
                }
            )

    path = write(add)
    _, _, targets = everything(path)
    reference = COCO(path / "labels.json")
    expected = [reference.annToMask(each) for each in reference.loadAnns(reference.getAnnIds(imgIds=[10]))]
    np.testing.assert_array_equal(targets["a.png"]["masks"], expected)


def test_pixels_that_two_classes_claim_are_of_unknown_class(write: Callable[..., Path]) -> None:
    def overlap(said: dict[str, Any]) -> None:
        said["annotations"][3]["segmentation"] = [[10, 3, 14, 3, 14, 11, 10, 11]]
        said["annotations"].append(said["annotations"][0] | {"id": 9, "segmentation": [[2, 3, 4, 3, 4, 30, 2, 30]]})

    _, _, targets = everything(write(overlap))
    expected = torch.zeros(30, 40, dtype=torch.uint8)
    expected[3:11, 2:12], expected[3:11, 10:14] = 2, 1
    expected[3:11, 10:12] = 255
    expected[3:, 2:4] = 2
    assert torch.equal(targets["a.png"]["segmentation"], expected)


LAYOUTS = {
    "COCO": ("annotations/instances_{}2017.json", "{}2017", "train", "val"),
    "COCO, images together": ("annotations/instances_{}.json", "images", "train", "val"),
    "COCO, images/train": ("annotations/{}.json", "images/{}", "train", "val"),
    "Roboflow": ("{}/_annotations.coco.json", "{}", "train", "valid"),
    "test only": ("{}/_annotations.coco.json", "{}", "train", "test"),
    "files beside folders": ("{}.json", "{}", "train", "val"),
    "all in one folder": ("my_{}_labels.json", "", "train", "test"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_usual_layouts_are_found(layout: str, write: Callable[..., Path]) -> None:
    file, images, *halves = LAYOUTS[layout]

    def no_crowd(said: dict[str, Any]) -> None:
        del said["annotations"][1]

    for half in halves:
        path = write(no_crowd if half == halves[0] else None, file=file.format(half), images=images.format(half))
    if layout == "COCO":
        (path / "annotations" / "captions_train2017.json").write_text('{"images": [], "annotations": []}')
    data = load(f"coco:{path}")
    assert data.everything is None
    assert (len(data.train), len(data.test)) == (3, 3)
    assert [len(target["labels"]) for target in batch(data.train)[1]] == [2, 1, 0]
    assert [len(target["labels"]) for target in batch(data.test)[1]] == [2, 2, 0]
    assert data.train.paths[0] == str(Path(images.format(halves[0]), "a.png"))


def test_the_validation_images_go_before_the_test_images(write: Callable[..., Path]) -> None:
    for half in ("train", "valid", "test"):
        path = write(file=f"{half}/_annotations.coco.json", images=half)
    assert load(f"coco:{path}").test.paths[0] == "valid/a.png"


@pytest.mark.parametrize("reverse", [False, True])
def test_images_and_annotations_can_be_anywhere(reverse: bool, write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(file="../elsewhere/of, me.json", images="deep/er")
    parts = [f"images={path / 'deep' / 'er'}", f"annotations={tmp_path / 'elsewhere' / 'of, me.json'}"]
    data = load("coco:" + ",".join(parts[::-1] if reverse else parts))
    assert data.spec == "coco:" + ",".join(parts)
    assert (len(data.train), len(data.test)) == (2, 1)


def test_one_set_is_split_by_the_seed_alone(tmp_path: Path) -> None:
    images = [{"id": k, "file_name": f"{k:03d}.png", "width": 8, "height": 8} for k in range(40)]
    objects = [{"id": k, "image_id": k, "category_id": 1, "bbox": [1, 1, 4, 4]} for k in range(40)]
    for image in images:
        write_picture(tmp_path / image["file_name"], (8, 8))
    said = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "it"}]}
    (tmp_path / "set.json").write_text(json.dumps(said))
    data = load(f"coco:{tmp_path}")
    assert (len(data.train), len(data.test), data.annotations) == (32, 8, ("boxes",))
    assert sorted(data.train.paths + data.test.paths) == [image["file_name"] for image in images]
    assert (data.spec, load(data.spec).test.paths) == (f"coco:{tmp_path}", data.test.paths)
    other = load(f"coco:{tmp_path}", seed=1)
    assert (other.spec, other.attrs["seed"]) == (f"coco:{tmp_path},seed=1", 1)
    assert other.test.paths != data.test.paths
    assert load(other.spec).test.paths == other.test.paths
    # The images in another order, and one more: few change sides.
    (tmp_path / "set.json").write_text(json.dumps(said | {"images": images[1:][::-1]}))
    assert len(set(load(f"coco:{tmp_path}").test.paths) - set(data.test.paths)) <= 1


def test_all_images_in_one_size(write: Callable[..., Path]) -> None:
    data, images, targets = everything(write(), image_size="20x10")
    assert data.image_size == (20, 10)
    assert {tuple(image.shape) for image in images} == {(3, 20, 10)}
    # a.png, 40 x 30: columns 12 to 27 are 10 of 15 pixels wide; the cat ends at column 12.
    assert targets["a.png"]["labels"].tolist() == [0]
    assert targets["a.png"]["masks"].shape == (1, 20, 10)


def test_crowds_are_not_counted_among_the_objects_to_train_on(write: Callable[..., Path]) -> None:
    data = load(f"coco:{write()}")
    assert data.everything is not None
    assert data.everything.objects.tolist() == [2, 1, 0]


def warned(caplog: pytest.LogCaptureFixture) -> str:
    """The one line of the warning."""
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    return lines[0]


def change_object(number: int, **changes: Any) -> Change:
    return lambda said: said["annotations"][number].update(changes)


def without(number: int, key: str) -> Change:
    return lambda said: said["annotations"][number].pop(key)


BROKEN: dict[str, tuple[Change, str, list[int]]] = {
    # What is wrong, what is said, and the numbers of objects that are left in a.png, b.png and c.png.
    "no width": (change_object(0, bbox=[2, 3, 0, 8]), "1 box of no area (annotation 1)", [1, 2, 0]),
    "negative": (change_object(0, bbox=[12, 11, -10, -8]), "1 box of no area (annotation 1)", [1, 2, 0]),
    "outside": (change_object(0, bbox=[50, 3, 10, 8]), "1 box outside of the image (annotation 1)", [1, 2, 0]),
    "not a number": (
        change_object(0, bbox=[2, 3, float("nan"), 8], segmentation=[]),
        "1 annotation without a box",
        [1, 2, 0],
    ),
    "three numbers": (change_object(0, bbox=[2, 3, 5], segmentation=None), "1 annotation without a box", [1, 2, 0]),
    "no box, but an outline": (
        change_object(0, bbox=[2, 3, float("nan"), 8]),
        "1 box in no known form, taken from the outline (annotation 1)",
        [2, 2, 0],
    ),
    "no outline": (without(0, "segmentation"), "1 object without an outline", [1, 2, 0]),
    "outline of two points": (
        change_object(0, segmentation=[[1, 2, 3, 4]]),
        "1 unusable outline (annotation 1)",
        [1, 2, 0],
    ),
    "outline of text": (change_object(0, segmentation="all"), "1 unusable outline", [1, 2, 0]),
    "outline far away": (
        change_object(0, segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]]),
        "1 unusable outline",
        [1, 2, 0],
    ),
    "runs of another size": (
        change_object(1, segmentation={"size": [20, 50], "counts": [0] + [2, 48] * 20}),
        "1 unusable outline (annotation 2)",
        [2, 1, 0],
    ),
    "too few runs": (
        change_object(1, segmentation={"size": [50, 20], "counts": "1"}),
        "1 unusable outline (annotation 2)",
        [2, 1, 0],
    ),
    "unknown category": (
        change_object(0, category_id=99),
        "1 annotation of an unknown category (annotation 1)",
        [1, 2, 0],
    ),
    "no category": (without(0, "category_id"), "1 annotation of an unknown category", [1, 2, 0]),
    "unknown image": (
        change_object(0, image_id=99),
        "1 annotation of an image that is not listed (annotation 1)",
        [1, 2, 0],
    ),
    "no object": (lambda said: said["annotations"].append(3), "1 annotation in no known form (at place 4)", [2, 2, 0]),
    "listed twice": (
        lambda said: said["annotations"].append(dict(said["annotations"][0])),
        "1 annotation listed twice (annotation 1)",
        [2, 2, 0],
    ),
    "the same id": (
        change_object(3, id=1),
        "1 annotation with the id of another, kept (annotation 1)",
        [2, 2, 0],
    ),
    "reaches out": (
        change_object(0, bbox=[35, 25, 10, 8]),
        "1 box cut at the edge of the image (annotation 1)",
        [2, 2, 0],
    ),
    "image without an id": (
        lambda said: said["images"].append({"file_name": "a.png"}),
        "1 image without an id or a file name (at place 3)",
        [2, 2, 0],
    ),
    "image twice": (
        lambda said: said["images"].append({"id": 10, "file_name": "b.png"}),
        "1 image with the id of another (b.png)",
        [2, 2, 0],
    ),
    "file twice": (
        lambda said: said["images"].append({"id": 11, "file_name": "b.png"}),
        "1 image listed twice (b.png)",
        [2, 2, 0],
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_wrong_is_counted_and_named_in_one_line(
    fault: str, write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    change, said, left = BROKEN[fault]
    path = write(change)
    _, _, targets = everything(path)
    line = warned(caplog)
    assert line.startswith(f"{path / 'labels.json'}: left out or changed are ")
    assert said in line
    assert "1 region of a crowd" in line or fault in ("runs of another size", "too few runs")
    assert [len(target["labels"]) for target in targets.values()] == left
    for target in targets.values():
        assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
        assert len(target["masks"]) == len(target["labels"])


def test_boxes_that_reach_out_are_cut(write: Callable[..., Path]) -> None:
    _, _, targets = everything(write(change_object(0, bbox=[35, 25, 10, 8])))
    assert targets["a.png"]["boxes"][0].tolist() == [35, 25, 40, 30]


def test_a_box_and_an_area_that_are_missing_are_those_of_the_outline(write: Callable[..., Path]) -> None:
    def missing(said: dict[str, Any]) -> None:
        for key in ("bbox", "area", "iscrowd", "id"):
            del said["annotations"][0][key]

    _, _, targets = everything(write(missing))
    target = targets["a.png"]
    assert (target["boxes"][0].tolist(), target["area"][0].item()) == ([2, 3, 12, 11], 80)


def test_missing_broken_and_resized_images_are_counted(
    write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    def more(said: dict[str, Any]) -> None:
        for number, name in enumerate(("gone.png", "torn.png", "other.png")):
            said["images"].append({"id": 50 + number, "file_name": name, "width": 10, "height": 10})
            said["annotations"].append(
                {"id": 50 + number, "image_id": 50 + number, "category_id": 3, "bbox": [1, 1, 5, 5]}
            )

    path = write(more)
    (path / "torn.png").write_bytes(b"no image")
    write_picture(path / "other.png", (20, 20))
    _, _, targets = everything(path)
    assert list(targets) == ["a.png", "b.png", "c.png"]
    line = warned(caplog)
    for said in (
        "1 image without a file (gone.png)",
        "1 unreadable image (torn.png)",
        "1 image of another size than the annotations say (other.png: 20x20, not 10x10)",
    ):
        assert said in line


def test_ids_may_be_texts_or_mixed(write: Callable[..., Path]) -> None:
    def texts(said: dict[str, Any]) -> None:
        for image in said["images"]:
            image["id"] = str(image["id"])
        for each in said["annotations"]:
            each["category_id"] = float(each["category_id"])

    _, _, targets = everything(write(texts))
    assert [len(target["labels"]) for target in targets.values()] == [2, 2, 0]
    assert [target["image_id"].item() for target in targets.values()] == [10, 20, 30]


def test_ids_that_are_names_become_numbers(write: Callable[..., Path]) -> None:
    def names(said: dict[str, Any]) -> None:
        renamed = {image["id"]: image["file_name"] for image in said["images"]}
        for image in said["images"]:
            image["id"] = renamed[image["id"]]
        for each in said["annotations"]:
            each["image_id"] = renamed[each["image_id"]]

    _, _, targets = everything(write(names))
    assert [target["image_id"].item() for target in targets.values()] == [0, 1, 2]
    assert [len(target["labels"]) for target in targets.values()] == [2, 2, 0]


@pytest.mark.parametrize("name", ["pictures\\b.png", "C:\\data\\b.png", "/somewhere/else/b.png", "./b.png"])
def test_files_are_found_by_the_paths_of_other_systems(name: str, write: Callable[..., Path]) -> None:
    def rename(said: dict[str, Any]) -> None:
        said["images"][1]["file_name"] = name

    assert len(everything(write(rename))[2]) == 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1", "I;16"])
def test_images_of_any_mode_come_out_as_colour(mode: str, write: Callable[..., Path]) -> None:
    path = write()
    name = "a.jpg" if mode == "CMYK" else "a.png"
    if mode == "I;16":
        picture = Image.fromarray(np.full((30, 40), 25_000, np.uint16))
    else:
        picture = Image.new("RGB", SIZES["a.png"], (200, 100, 100)).convert(mode)
    picture.save(path / name)
    if name != "a.png":
        (path / "a.png").unlink()
        said = known()
        said["images"][0]["file_name"] = name
        (path / "labels.json").write_text(json.dumps(said))
    _, images, _ = everything(path)
    assert (images[0].shape, images[0].dtype) == ((3, 30, 40), torch.uint8)


@pytest.mark.parametrize(("said", "turned"), [((40, 30), False), ((30, 40), True), (None, True)])
def test_images_that_a_camera_turned_are_as_their_annotations_say(
    said: tuple[int, int] | None, turned: bool, write: Callable[..., Path]
) -> None:
    def resize(content: dict[str, Any]) -> None:
        image = content["images"][0]
        image["file_name"] = "a.jpg"
        for side, length in zip(("width", "height"), said or (None, 0), strict=True):
            image[side] = length

    path = write(resize)
    exif = Image.Exif()
    exif[0x0112] = 6
    left = np.zeros((30, 40, 3), np.uint8)
    left[:, :20] = 255
    Image.fromarray(left).save(path / "a.jpg", exif=exif)
    _, images, targets = everything(path)
    assert images[0].shape == ((3, 40, 30) if turned else (3, 30, 40))
    bright = images[0][0] > 128
    assert bright[:20].all() if turned else bright[:, :20].all()
    assert targets["a.jpg"]["masks"].shape[1:] == images[0].shape[1:]


def test_boxes_alone_where_no_object_or_few_have_outlines(
    write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    def empty(said: dict[str, Any]) -> None:
        for each in said["annotations"]:
            each["segmentation"] = []

    assert load(f"coco:{write(empty)}").annotations == ("boxes",)

    def few(said: dict[str, Any]) -> None:
        for each in said["annotations"][1:]:
            each["segmentation"] = []

    data, _, targets = everything(write(few))
    assert data.annotations == ("boxes",)
    assert [len(target["labels"]) for target in targets.values()] == [2, 2, 0]
    assert "1 outline not used, as most objects have none" in caplog.text


def test_a_single_image_is_refused_with_what_to_do(write: Callable[..., Path]) -> None:
    with pytest.raises(StripeError, match=r"a\.png is a single image: .* Give two at least; .* as folder:DIR"):
        load(f"coco:{write(lambda said: said.update(images=said['images'][:1]))}")


def test_categories_that_only_group_others_are_no_classes(write: Callable[..., Path]) -> None:
    def group(said: dict[str, Any]) -> None:
        for category in said["categories"]:
            category["supercategory"] = "animal"
        said["categories"].append({"id": 0, "name": "animal", "supercategory": "none"})

    assert load(f"coco:{write(group)}").classes == ("dog", "cat")


def test_two_categories_of_one_name_are_told_apart(write: Callable[..., Path]) -> None:
    def rename(said: dict[str, Any]) -> None:
        said["categories"][0]["name"] = "dog"

    assert load(f"coco:{write(rename)}").classes == ("dog (3)", "dog (7)")


def test_classes_of_the_halves_are_matched_by_their_names(write: Callable[..., Path]) -> None:
    def renumber(said: dict[str, Any]) -> None:
        said["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "unused"}]
        for each in said["annotations"]:
            each["category_id"] = {7: 1, 3: 2}[each["category_id"]]

    write(file="train/x.json", images="train")
    data = load(f"coco:{write(renumber, file='val/x.json', images='val')}")
    assert data.classes == ("dog", "cat")
    assert [target["labels"].tolist() for target in batch(data.test)[1]] == [[1, 0], [0, 1], []]


def test_a_class_in_one_half_only_is_refused(write: Callable[..., Path]) -> None:
    def other(said: dict[str, Any]) -> None:
        said["categories"][0]["name"] = "horse"

    write(file="train/x.json", images="train")
    with pytest.raises(
        StripeError, match=r"val/x\.json has annotations of the class 'horse', which .*train/x\.json does"
    ):
        load(f"coco:{write(other, file='val/x.json', images='val')}")


def unit(said: dict[str, Any]) -> None:
    for each in said["annotations"]:
        each["bbox"] = [0.1, 0.2, 0.5, 0.5]


def corners(said: dict[str, Any]) -> None:
    for each in said["annotations"]:
        x, y, width, height = each["bbox"]
        each["bbox"] = [x, y, x + width, y + height]


REFUSED: dict[str, tuple[Change, str]] = {
    "no annotations": (lambda said: said.update(annotations=[]), "has no annotations: their list is empty"),
    "no images": (lambda said: said.update(images=[]), "has no images: their list is empty"),
    "no categories": (lambda said: said.pop("categories"), "does not say which classes there are"),
    "ids of categories twice": (
        lambda said: said["categories"].append({"id": 3, "name": "x"}),
        "each an id of its own",
    ),
    "another format": (lambda said: said.pop("images"), "is not in COCO's format"),
    "files that are all gone": (
        lambda said: [image.update(file_name="no" + image["file_name"]) for image in said["images"]],
        r"none of its images can be used\. Left out are 3 images without a file \(noa\.png\)",
    ),
    "sizes that are all others": (
        lambda said: [image.update(width=640, height=640) for image in said["images"]],
        r"3 images of another size than the annotations say \(a\.png: 40x30, not 640x640\)",
    ),
    "annotations of nothing": (
        lambda said: [each.update(image_id=5) for each in said["annotations"]],
        "none of its annotations can be used. Left out are 4 annotations of an image that is not listed",
    ),
    "shares of the image": (unit, "all numbers of the boxes are within 0 and 1"),
    "corners": (corners, r"\d of 4 boxes reach out of their images, and none would if"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_sentence(fault: str, write: Callable[..., Path]) -> None:
    change, said = REFUSED[fault]
    path = write(change)
    with pytest.raises(StripeError, match=said) as caught:
        load(f"coco:{path}")
    assert str(path / "labels.json") in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [json.dumps(known())[:-40].encode(), b"", b"\xff\xfe\x00", b"[" * 100_000, b"<html></html>"],
    ids=["cut off", "empty", "binary", "nested", "a page"],
)
def test_files_that_are_no_json_are_refused(content: bytes, write: Callable[..., Path]) -> None:
    path = write()
    (path / "labels.json").write_bytes(content)
    with pytest.raises(StripeError, match=r"labels\.json is not valid JSON .*it may be cut off"):
        load(f"coco:{path}")


@pytest.mark.parametrize("content", ["[]", "3", '{"images": 3, "annotations": []}', '[{"image_id": 1, "score": 0.5}]'])
def test_json_of_something_else_is_refused(content: str, write: Callable[..., Path]) -> None:
    path = write()
    (path / "labels.json").write_text(content)
    with pytest.raises(StripeError, match="is not in COCO's format"):
        load(f"coco:{path}")


def test_folders_in_no_known_layout_are_answered_with_the_layouts(write: Callable[..., Path], tmp_path: Path) -> None:
    forms = "give coco:DIR, where DIR has annotations/instances_train2017.json"
    for where, said in (
        (tmp_path / "none", "does not exist"),
        (write() / "labels.json", "is a file, not a folder"),
        (f"images={tmp_path / 'none'},annotations=x.json", "There is no folder"),
        (f"images={tmp_path},annotations={tmp_path / 'x.json'}", "There is no file"),
    ):
        with pytest.raises(StripeError, match=f"{said}.*{forms}"):
            load(f"coco:{where}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StripeError, match=r"it has no JSON file\. Give coco:DIR"):
        load(f"coco:{tmp_path / 'empty'}")
    path = write(file="one.json", folder="two")
    write(file="other.json", folder="two")
    with pytest.raises(StripeError, match=r"of its JSON files \(one\.json, other\.json\) none is called train or val"):
        load(f"coco:{path}")
    write(file="train_a.json", folder="two")
    write(file="train_b.json", folder="two")
    with pytest.raises(StripeError, match=r"several files for train: train_a\.json and train_b\.json"):
        load(f"coco:{path}")


def test_an_image_that_changed_since_is_refused_when_it_is_read(write: Callable[..., Path]) -> None:
    path = write()
    data = load(f"coco:{path}")
    write_picture(path / "a.png", (10, 10))
    assert data.everything is not None
    with pytest.raises(StripeError, match=r"a\.png is 10x10 pixels, and its annotations are of an image of 40x30"):
        batch(data.everything)


def test_paths_and_digests_do_not_depend_on_where_the_folder_lies(write: Callable[..., Path]) -> None:
    one, other = load(f"coco:{write(folder='x/set')}"), load(f"coco:{write(folder='y/set')}")
    assert one.attrs == other.attrs
    assert json.loads(json.dumps(one.attrs)) == one.attrs
    assert one.test.paths == other.test.paths
    assert load(f"coco:{write(without(0, 'area'), folder='z/set')}").attrs != one.attrs
