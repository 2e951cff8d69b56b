"""Which files of a folder are used, for what, and what is said of the others."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stripe.data import Data, load
from stripe.data.files import digest_of
from stripe.errors import StripeError

from .conftest import WriteImages

# What the installed Pillow can write and, by its own tables, read.
WRITABLE = {
    suffix: name
    for suffix, name in Image.registered_extensions().items()
    if name in Image.OPEN and name in ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
}


def everything(data: Data) -> list[str]:
    return sorted({*data.train.paths, *data.test.paths})


@pytest.mark.parametrize("suffix", [*sorted(WRITABLE), ".JPE", ".Jp2"])
def test_what_pillow_opens_is_an_image(write_images: WriteImages, suffix: str) -> None:
    path = write_images("set", {"a": 2, "b": 2})
    kind = WRITABLE[suffix.lower()]
    options = {"lossless": True} if kind == "WEBP" else {}
    mode = "L" if suffix == ".pfm" else "RGB"
    picture = Image.new(mode, (12, 12), 200 if mode == "L" else (200, 200, 200))
    (picture.convert("F") if suffix == ".pfm" else picture).save(path / "a" / f"x{suffix}", kind, **options)
    data = load(f"folder:{path}")
    assert f"a/x{suffix}" in everything(data)
    images, _ = next(iter(data.everything.loader(5, indices=[data.everything.paths.index(f"a/x{suffix}")])))
    assert abs(int(images.float().mean()) - 200) <= 3


def test_links_to_folders_are_followed_and_none_is_walked_twice(write_images: WriteImages, tmp_path: Path) -> None:
    path = write_images("set", {"a": 1, "a/z": 1, "b": 1})
    write_images("store", {"one": 1, "one/two": 1})
    (path / "a" / "more").symlink_to(tmp_path / "store" / "one")
    (path / "a" / "twice").symlink_to("z")
    (path / "a" / "loop").symlink_to(path)
    (path / "a" / "self").symlink_to(".")
    (path / "a" / "more" / "back").symlink_to(path / "a")
    (path / "c").symlink_to(tmp_path / "store" / "one" / "two")
    data = load(f"folder:{path}")
    assert data.classes == ("a", "b", "c")
    linked = ["a/more/000.png", "a/more/two/000.png"]
    assert everything(data) == ["a/000.png", *linked, "a/z/000.png", "b/000.png", "c/000.png"]


def test_a_linked_image_that_is_gone_is_named(write_images: WriteImages) -> None:
    path = write_images("set", {"a": 2, "b": 2})
    (path / "a" / "gone.png").symlink_to(path / "nowhere.png")
    with pytest.raises(StripeError, match=r"gone\.png cannot be read"):
        load(f"folder:{path}")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("TRAIN", "TEST"),
        ("train", "Val"),
        ("training", "validation"),
        ("train", "valid"),
    ],
)
def test_names_of_the_halves(write_images: WriteImages, train: str, test: str) -> None:
    write_images(f"set/{train}", {"a": 2, "b": 1})
    data = load(f"folder:{write_images(f'set/{test}', {'a': 1, 'b': 1}).parent}")
    assert data.train.paths == [f"{train}/a/000.png", f"{train}/a/001.png", f"{train}/b/000.png"]
    assert data.test.paths == [f"{test}/a/000.png", f"{test}/b/000.png"]
    assert data.everything is None


def test_a_class_may_be_called_train(write_images: WriteImages) -> None:
    data = load(f"folder:{write_images('set', {'Train': 2, 'Car': 2})}")
    assert data.classes == ("Car", "Train")


def test_halves_that_are_not_used_are_said(write_images: WriteImages, caplog: pytest.LogCaptureFixture) -> None:
    for half in ("train", "val", "test"):
        path = write_images(f"set/{half}", {"a": 1, "b": 1}).parent
    assert load(f"folder:{path}").test.paths == ["test/a/000.png", "test/b/000.png"]
    assert "left out are the folders val" in caplog.text


@pytest.mark.parametrize(
    ("images", "names"),
    [
        ({".": 2}, ["000.png", "001.png"]),
        ({"cat": 2}, ["cat/000.png", "cat/001.png"]),
        ({".": 1, "cat": 1}, ["000.png", "cat/000.png"]),
        ({".": 1, "empty": 0, "too": 0}, ["000.png"]),
    ],
    ids=["loose", "one folder", "loose and one folder", "loose beside empty folders"],
)
def test_images_without_classes(write_images: WriteImages, images: dict[str, int], names: list[str]) -> None:
    data = load(f"folder:{write_images('set', images)}")
    assert data.classes == ()
    assert data.everything is not None
    assert data.everything.paths == sorted({*data.train.paths, *data.test.paths}) == names
    assert len(data.train) == len(data.test) == 1  # of one image both are the same
    for split in (data.train, data.test, data.everything):
        assert split.labels.tolist() == [-1] * len(split)
    with pytest.raises(StripeError, match="have no classes, and this needs their labels"):
        data.require_classes()


def test_of_images_without_classes_a_fifth_is_held_out(write_images: WriteImages) -> None:
    data = load(f"folder:{write_images('set', {'.': 12})}")
    assert (len(data.train), len(data.test)) == (10, 2)
    assert set(data.train.paths).isdisjoint(data.test.paths)
    assert data.everything is not None
    assert data.everything.paths == sorted([*data.train.paths, *data.test.paths])
    classes = load(f"folder:{write_images('classes', {'a': 2, 'b': 2})}")
    assert classes.attrs["files"] == digest_of(classes.train.paths, classes.test.paths)
    every = data.everything.paths
    assert data.attrs["files"] == digest_of(every, every)  # what older captures of such images say


def test_halves_without_classes(write_images: WriteImages) -> None:
    write_images("set/train", {"cat": 2})
    data = load(f"folder:{write_images('set/test', {'.': 1}).parent}")
    assert data.classes == ()
    assert data.train.paths == ["train/cat/000.png", "train/cat/001.png"]
    assert data.test.paths == ["test/000.png"]
    assert data.everything is None


def test_all_images_of_class_folders(write_images: WriteImages) -> None:
    data = load(f"folder:{write_images('set', {'a': 10, 'b': 5})}")
    assert data.everything.paths == everything(data)
    assert data.everything.labels.tolist() == [0] * 10 + [1] * 5


def test_what_is_left_out_is_counted(write_images: WriteImages, caplog: pytest.LogCaptureFixture) -> None:
    path = write_images("set", {"a": 2, "b": 2, "__MACOSX/a": 1, "a/@eaDir": 1})
    for name in ("a/notes.txt", "a/x.heic", "a/y.HEIC", "a/capture.h5", "a/film.mpg"):
        (path / name).touch()
    for clutter in ("a/.DS_Store", "a/._000.png", "b/Thumbs.db", "desktop.ini"):
        (path / clutter).touch()
    (path / "b" / "001.png").rename(path / "loose.png")
    data = load(f"folder:{path}")
    assert everything(data) == ["a/000.png", "a/001.png", "b/000.png"]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "5 files are left out" in said[0]
    assert "(2 .heic, 1 .h5, 1 .mpg, 1 .txt)" in said[0]
    assert said[0].endswith("such as a/capture.h5")
    assert "1 image is left out, beside the class folders, such as loose.png" in said[1]


def test_nothing_is_said_where_nothing_is_left_out(write_images: WriteImages, caplog: pytest.LogCaptureFixture) -> None:
    load(f"folder:{write_images('set', {'a': 2, 'b': 2})}")
    assert not caplog.records


def test_a_pipe_is_no_image(write_images: WriteImages) -> None:
    path = write_images("set", {"a": 2, "b": 2})
    os.mkfifo(path / "a" / "pipe.png")
    assert "a/pipe.png" not in everything(load(f"folder:{path}"))


@pytest.mark.skipif(os.name != "posix", reason="names of files are text there")
def test_names_that_are_not_utf8(write_images: WriteImages) -> None:
    path = write_images("set", {"a": 2, "b": 2})
    name = os.fsdecode(b"\xff\xe9.png")
    (path / "a" / "001.png").rename(path / "a" / name)
    (path / "b").rename(path / os.fsdecode(b"caf\xe9"))
    (path / "a" / os.fsdecode(b"\xfe.txt")).touch()
    data = load(f"folder:{path}")
    assert f"a/{name}" in everything(data)
    assert data.classes == ("a", "caf\udce9")
    images, _ = next(iter(data.everything.loader(4)))
    assert images.shape == (4, 3, 12, 12)
    assert np.unique(images).tolist() == [0, 1, 2, 3]
