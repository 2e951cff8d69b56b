"""Sizes of images as numbers, pairs and text; oblong images from every kind of data set."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stripe.data import ImageSize, load, parse_size, sides, train_batches, write_size
from stripe.data.images import resize
from stripe.data.size import inscribed
from stripe.errors import StripeError


@pytest.mark.parametrize(
    ("value", "size", "written"),
    [
        (32, 32, 32),
        (np.int64(32), 32, 32),
        ("32", 32, 32),
        ("32x32", 32, 32),
        ((32, 32), 32, 32),
        ("48x192", (48, 192), "48x192"),
        (" 48 X 192 ", (48, 192), "48x192"),
        ("48×192", (48, 192), "48x192"),
        ([192, 48], (192, 48), "192x48"),
        (torch.Size([192, 48]), (192, 48), "192x48"),
    ],
)
def test_one_way_to_say_each(value: object, size: ImageSize, written: int | str) -> None:
    assert parse_size(value) == size
    assert write_size(size) == written
    assert parse_size(write_size(size)) == size
    assert sides(size) == (size if isinstance(size, tuple) else (size, size))


@pytest.mark.parametrize("value", ["", "x", "48x", "48x192x3", "-8", "4.5", 4.5, True, (True, 8), None, (1, 2, 3), {}])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(
        StripeError, match=r"is no image size\. Give the side of square images, as 32, or height x width"
    ):
        parse_size(value)


@pytest.mark.parametrize("value", [0, (0, 5), (5, -1), "0x5"])
def test_sides_are_at_least_a_pixel(value: object) -> None:
    with pytest.raises(StripeError, match="each side must be at least 1 pixel"):
        parse_size(value)


def test_the_largest_box_inside() -> None:
    assert inscribed((48, 192), (60, 100)) == (25, 100)
    assert inscribed((192, 48), (60, 100)) == (60, 15)
    assert inscribed((50, 120), (60, 100)) == (42, 100)
    assert inscribed(224, (60, 100)) == 60
    assert inscribed((1, 1000), (60, 100)) == (1, 100)


def test_resizing_cuts_the_centre_out_and_distorts_nothing() -> None:
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    images[:, :, 12:20] = 200  # a quarter of the height is all that a picture of 1 : 4 has
    resized = resize(images, (16, 64))
    assert resized.shape == (1, 3, 16, 64)
    assert (resized == 200).all()
    assert (resize(images.mT, (64, 16)) == 200).all()


@pytest.mark.parametrize("size", [(24, 96), (96, 24)])
@pytest.mark.parametrize("memory_limit", [0, 2**31])
def test_shapes(size: tuple[int, int], memory_limit: int) -> None:
    data = load("shapes:train=20,test=10", image_size=size, memory_limit=memory_limit)
    images, _ = next(iter(data.test.loader(10, workers=0)))
    assert data.image_size == size
    assert data.attrs["image_size"] == write_size(size)
    assert images.shape == (10, 3, *size)
    again = load(data.spec, image_size=write_size(size))
    assert torch.equal(next(iter(again.test.loader(10)))[0], images)
    assert data.normalize(images).shape == (10, 3, *size)


def test_shapes_stay_round(recwarn: pytest.WarningsRecorder) -> None:
    square = load("shapes:train=10,test=200,center_bias=1", image_size=64).test.loader(200)
    oblong = load("shapes:train=10,test=200,center_bias=1", image_size=(64, 256)).test.loader(200)
    (first, _), (second, _) = next(iter(square)), next(iter(oblong))
    # In the centre the same shape of the same size; texture, light and noise are others.
    inside = second[:, :, 16:48, 112:144].float().mean((1, 2, 3)), first[:, :, 16:48, 16:48].float().mean((1, 2, 3))
    assert np.corrcoef(*(values.numpy() for values in inside))[0, 1] > 0.95
    assert not recwarn.list


@pytest.mark.parametrize("size", [(15, 64), (64, 15)])
def test_shapes_need_16_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(StripeError, match=f"at least 16 pixels, not {size[0]}x{size[1]}"):
        load("shapes", image_size=size)


def folder(path: Path, *shapes: tuple[int, int]) -> Path:
    """Class folders of red images of these heights and widths."""
    for label in "ab":
        (path / label).mkdir(parents=True)
        for number in range(6):
            height, width = shapes[number % len(shapes)]
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[..., 0] = 200
            Image.fromarray(pixels).save(path / label / f"{number}.png")
    return path


@pytest.mark.parametrize("size", [(24, 96), (96, 24), 32])
@pytest.mark.parametrize("shapes", [[(24, 96)], [(60, 50)], [(300, 200), (150, 260)], [(20, 20)]])
@pytest.mark.parametrize("memory_limit", [0, 2**31])
def test_folders(tmp_path: Path, size: ImageSize, shapes: list[tuple[int, int]], memory_limit: int) -> None:
    data = load(f"folder:{folder(tmp_path / 'data', *shapes)}", image_size=size, memory_limit=memory_limit)
    for batches in (data.train.loader(4, workers=0), data.test.loader(4, workers=0)):
        for images, _ in batches:
            assert images.shape[1:] == (3, *sides(size))
            assert (images[:, 0] == 200).all()
    for images, _ in train_batches(data.train, 4, seed=0, epoch=0, workers=0):
        assert images.shape[1:] == (3, *sides(size))
        assert set(images[:, 0].unique().tolist()) >= {200}  # beside black padding


def test_images_of_that_size_keep_their_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 100, 3), dtype=np.uint8)
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    images, _ = next(iter(load(f"folder:{tmp_path}", image_size=(48, 100)).test.loader(1)))
    np.testing.assert_array_equal(images[0].permute(1, 2, 0), pixels)


@pytest.mark.parametrize("turned", [False, True])
def test_large_photos_are_decoded_small_but_not_too_small(tmp_path: Path, turned: bool) -> None:
    """A fine pattern across a JPEG, lying as the camera noted or not, survives: no side is enlarged."""
    height, width = (1600, 400) if turned else (400, 1600)
    pixels = np.zeros((400, 1600, 3), np.uint8)
    pixels[:, ::16] = pixels[:, 1::16] = pixels[:, 2::16] = pixels[:, 3::16] = 255
    image = Image.fromarray(np.rot90(pixels) if turned else pixels)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6  # to be turned clockwise by 90°
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            image.save(tmp_path / label / f"{number}.jpg", quality=95, exif=exif)
    assert image.size == (width, height)
    images, _ = next(iter(load(f"folder:{tmp_path}", image_size=(100, 400)).test.loader(1)))
    spread = images[0, 0].float().mean(0)
    assert float(spread.max() - spread.min()) > 150


def test_crops_of_photos_have_the_proportions(tmp_path: Path) -> None:
    """A circle stays a circle, give or take a third, in the random crops of oblong images."""
    yy, xx = np.mgrid[:400, :800]
    pixels = np.where(((yy - 200) ** 2 + (xx - 400) ** 2 < 60**2)[..., None], 255, 0).repeat(3, 2).astype(np.uint8)
    for label in "ab":
        (tmp_path / label).mkdir()
        for number, grow in enumerate((0, 1, 2, 3, 4, 5)):
            Image.fromarray(np.pad(pixels, ((0, 0), (grow, 0), (0, 0)))).save(tmp_path / label / f"{number}.png")
    split = load(f"folder:{tmp_path}", image_size=(48, 192)).train
    ratios = []
    for epoch in range(6):
        for images, _ in train_batches(split, 8, seed=0, epoch=epoch, workers=0):
            for image in images[:, 0].numpy() > 127:
                rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
                if len(rows) and rows[0] > 0 and rows[-1] < 47 and columns[0] > 0 and columns[-1] < 191:
                    ratios.append(len(columns) / len(rows))
    assert len(ratios) > 3
    assert all(0.6 < ratio < 1.6 for ratio in ratios)
