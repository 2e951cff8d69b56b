import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stripe.data import Split, load
from stripe.data.memory import MemorySplit
from stripe.data.streamed import StreamedSplit
from stripe.errors import StripeError

from .conftest import WriteImages


def greys(split: Split) -> dict[str, int]:
    """The grey level of every image, by its file."""
    levels = [int(image[0, 0, 0]) for images, _ in split.loader(100) for image in images]
    return dict(zip(split.paths, levels, strict=True))


def test_train_and_test_of_class_folders(write_images: WriteImages) -> None:
    write_images("set/train", {"cat": 2, "ant": 1})
    path = write_images("set/test", {"cat": 1, "ant": 2}).parent
    data = load(f"folder:{path}")
    assert data.classes == ("ant", "cat")
    assert data.image_size == 12
    assert data.train.paths == ["train/ant/000.png", "train/cat/000.png", "train/cat/001.png"]
    assert data.train.labels.tolist() == [0, 1, 1]
    assert data.train.labels.dtype == np.int64
    assert greys(data.train) == {"train/cat/000.png": 0, "train/cat/001.png": 1, "train/ant/000.png": 2}
    assert greys(data.test) == {"test/cat/000.png": 0, "test/ant/000.png": 1, "test/ant/001.png": 2}
    assert data.mean == (0.485, 0.456, 0.406)


def test_val_is_a_test_split_and_a_test_folder_without_classes_is_passed_over(
    write_images: WriteImages,
) -> None:
    write_images("set/train", {"a": 1, "b": 1})
    path = write_images("set/val", {"a": 1, "b": 1}).parent
    (path / "test").mkdir()
    (path / "test" / "unlabelled.png").touch()
    assert load(f"folder:{path}").test.paths == ["val/a/000.png", "val/b/000.png"]


def test_without_a_split_a_fifth_of_each_class_is_held_out(write_images: WriteImages) -> None:
    path = write_images("set", {"a": 50, "b": 10, "c": 2, "d": 1})
    data = load(f"folder:{path}")
    assert np.bincount(data.test.labels).tolist() == [10, 2, 1]
    assert np.bincount(data.train.labels).tolist() == [40, 8, 1, 1]
    assert set(data.train.paths).isdisjoint(data.test.paths)
    assert len({*data.train.paths, *data.test.paths}) == 63
    assert load(f"folder:{path}", seed=5).test.paths == data.test.paths


def test_the_held_out_images_are_not_simply_the_first_or_last(write_images: WriteImages) -> None:
    data = load(f"folder:{write_images('set', {'a': 50, 'b': 50})}")
    held = [int(Path(path).stem) for path in data.test.paths if path.startswith("a/")]
    assert min(held) < 25 < max(held)


def test_few_images_change_sides_when_images_are_added(write_images: WriteImages) -> None:
    before = set(load(f"folder:{write_images('set', {'a': 50, 'b': 50})}").test.paths)
    after = set(load(f"folder:{write_images('set', {'a': 55, 'b': 50})}").test.paths)
    assert len(before - after) <= 2


def test_attributes_tell_the_files_and_not_the_place(write_images: WriteImages, tmp_path: Path) -> None:
    path = write_images("one/set", {"a": 5, "b": 5})
    attrs = load(f"folder:{path}").attrs
    assert json.loads(json.dumps(attrs)) == attrs
    moved = shutil.copytree(path, tmp_path / "two" / "set")
    assert load(f"folder:{moved}").attrs == attrs
    assert load(f"folder:{path}", image_size=20).attrs != attrs
    (moved / "a" / "004.png").rename(moved / "a" / "009.png")
    assert load(f"folder:{moved}").attrs != attrs


def test_the_spec_loads_it_again_from_anywhere(
    write_images: WriteImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images("set", {"a": 5, "b": 5})
    monkeypatch.chdir(tmp_path)
    data = load("folder:set")
    monkeypatch.chdir("/")
    assert load(data.spec).attrs == data.attrs


def test_folders_below_a_class_and_other_files(write_images: WriteImages) -> None:
    path = write_images("set", {"a": 1, "b": 1, "b/more/deep": 1, ".hidden": 1, "a/.cache": 1})
    (path / "a" / "notes.txt").touch()
    (path / "a" / "._000.png").touch()
    (path / "README.md").touch()
    (path / "a" / "000.png").rename(path / "a" / "BIG.PNG")
    data = load(f"folder:{path}")
    assert data.classes == ("a", "b")
    assert sorted([*data.train.paths, *data.test.paths]) == ["a/BIG.PNG", "b/000.png", "b/more/deep/000.png"]


def test_photos_of_different_sizes_become_224_pixels(write_images: WriteImages) -> None:
    write_images("set", {"a": 2, "b": 2}, size=(50, 40))
    data = load(f"folder:{write_images('set', {'b': 3}, size=(40, 50))}")
    assert data.image_size == 224
    images, _ = next(iter(data.test.loader(1)))
    assert images.shape == (1, 3, 224, 224)


def test_large_images_become_224_pixels_even_if_all_are_alike(write_images: WriteImages) -> None:
    data = load(f"folder:{write_images('set', {'a': 2, 'b': 2}, size=(300, 300))}")
    assert data.image_size == 224
    assert isinstance(data.train, StreamedSplit)
    assert isinstance(data.test, MemorySplit)


def test_small_images_keep_their_size_unless_another_is_asked_for(write_images: WriteImages) -> None:
    path = write_images("set", {"a": 2, "b": 2}, size=(20, 14))
    assert load(f"folder:{path}").image_size == 14
    for size in (7, 28):
        data = load(f"folder:{path}", image_size=size)
        images, _ = next(iter(data.test.loader(1)))
        assert images.shape == (1, 3, size, size)
        assert isinstance(data.train, MemorySplit)
        assert data.train.images.shape[-1] == min(size, 14)


def test_using_the_test_images_does_not_decode_the_others(write_images: WriteImages) -> None:
    write_images("set/train", {"a": 2, "b": 2})
    path = write_images("set/test", {"a": 2, "b": 2}).parent
    data = load(f"folder:{path}")
    shutil.rmtree(path / "train")
    assert len(greys(data.test)) == 4
    with pytest.raises(StripeError, match="cannot be read"):
        greys(data.train)


class TestWhatIsWrong:
    def refused(self, path: Path, match: str) -> None:
        with pytest.raises(StripeError, match=match):
            load(f"folder:{path}")

    def test_no_such_folder(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "nowhere", r"no folder .*nowhere")

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        self.refused(tmp_path / "file", "no folder")

    def test_no_images(self, tmp_path: Path) -> None:
        self.refused(tmp_path, r"No images were found in .*looked for \.jpg")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "x.txt").touch()
        self.refused(tmp_path, "No images were found")

    def test_a_class_without_images(self, write_images: WriteImages) -> None:
        self.refused(write_images("set", {"a": 3, "b": 0, "c": 1}), r"without images in .*: 'b'")

    def test_nothing_left_to_test_on(self, write_images: WriteImages) -> None:
        self.refused(write_images("set", {"a": 1, "b": 1}), "none is left to test on")

    def test_train_alone(self, write_images: WriteImages) -> None:
        path = write_images("set/train", {"a": 3, "b": 3})
        self.refused(path.parent, r"no class folders in test/ or val/.*folder:.*train")

    def test_other_classes_to_test_on(self, write_images: WriteImages) -> None:
        write_images("set/train", {"a": 1, "b": 1, "c": 1})
        path = write_images("set/val", {"a": 1, "b": 1, "d": 1})
        self.refused(path.parent, r"different classes: 'c', 'd' are in one of them only")

    def test_a_corrupt_image(self, write_images: WriteImages) -> None:
        path = write_images("set", {"a": 3, "b": 3})
        (path / "b" / "001.png").write_bytes(b"\x89PNG\r\n")
        self.refused(path, r"001\.png cannot be read as an image")


def test_images_of_their_own_sizes(tmp_path: Path) -> None:
    """For detectors: lists of images, none scaled or cut, with nothing beside them but a number."""
    sizes = [(10, 14), (20, 6), (8, 8)]
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(np.full((height, width, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    data = load(f"folder:{tmp_path}", own_sizes=True)
    assert (data.image_size, data.attrs["image_size"], data.annotations) == (None, "own", ())
    assert data.everything is not None
    (images, targets), *_ = data.everything.loader(3, workers=0)
    assert [(tuple(image.shape), int(image.max())) for image in images] == [
        ((3, *size), number) for number, size in enumerate(sizes)
    ]
    assert [list(target) for target in targets] == [["image_id"]] * 3
    assert load(f"folder:{tmp_path}", own_sizes=True, image_size=8).image_size == 8
