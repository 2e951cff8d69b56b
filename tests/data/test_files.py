from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stripe.data.files import FileImages, _to_rgb, common_size
from stripe.errors import StripeError


def read(path: Path, size: int, **options: Any) -> np.ndarray:
    """The image as ``(height, width, RGB)``."""
    images = FileImages(path.parent, [path.name], size, varied=True, **options)
    batch = images.read(np.array([0]))
    assert batch.shape == (1, 3, size, size)
    assert batch.is_contiguous()
    return batch[0].permute(1, 2, 0).numpy()


def save(path: Path, pixels: np.ndarray | Image.Image, **options: Any) -> Path:
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)
    return path


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, 10, 3), dtype=np.uint8)


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path: Path, noise: np.ndarray) -> None:
    np.testing.assert_array_equal(read(save(tmp_path / "a.png", noise), 10), noise)


@pytest.mark.parametrize("upright", [True, False])
def test_the_short_side_is_scaled_and_the_centre_cut_out(tmp_path: Path, upright: bool) -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = (10, 20, 30)
    path = save(tmp_path / "a.png", pixels.transpose(1, 0, 2) if upright else pixels)
    image = read(path, 20)[1:-1, 1:-1]  # at the edge, the pixels outside have a share
    assert (image == (10, 20, 30)).all()


def test_the_crop_fraction_cuts_off_the_border(tmp_path: Path) -> None:
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[5:75, 5:75] = 200  # 70 of 80 pixels are .875
    path = save(tmp_path / "a.png", pixels)
    assert (read(path, 35, crop_fraction=0.875)[1:-1, 1:-1] == 200).all()
    assert (read(path, 35)[1] < 200).all()


def test_grey_palette_transparent_and_bilevel_images_become_rgb(tmp_path: Path, noise: np.ndarray) -> None:
    image = Image.fromarray(noise)
    grey = read(save(tmp_path / "l.png", image.convert("L")), 10)
    np.testing.assert_array_equal(grey, np.repeat(np.asarray(image.convert("L"))[..., None], 3, 2))

    flat = Image.new("RGB", (10, 10), (250, 3, 7))
    palette = flat.convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(read(save(tmp_path / "p.png", palette), 10)[0, 0], (250, 3, 7))
    palette.info["transparency"] = b"\x80" * 16
    np.testing.assert_array_equal(read(save(tmp_path / "pa.png", palette), 10)[0, 0], (250, 3, 7))
    np.testing.assert_array_equal(read(save(tmp_path / "g.gif", flat), 10)[5, 5], (250, 3, 7))

    rgba = np.dstack([noise, np.full((10, 10), 128, np.uint8)])
    np.testing.assert_array_equal(read(save(tmp_path / "a.png", rgba), 10), noise)
    assert set(read(save(tmp_path / "1.png", image.convert("1")), 10).ravel()) <= {0, 255}


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    cmyk = Image.new("RGB", (10, 10), (200, 30, 60)).convert("CMYK")
    np.testing.assert_allclose(read(save(tmp_path / "a.jpg", cmyk, quality=95), 10)[5, 5], (200, 30, 60), atol=6)


def test_16_bit_grey_keeps_its_tones(tmp_path: Path) -> None:
    pixels = np.linspace(0, 65535, 100).astype(np.uint16).reshape(10, 10)
    image = read(save(tmp_path / "a.png", pixels), 10)
    np.testing.assert_array_equal(image[..., 0], pixels // 256)


def grey_file(path: Path, values: np.ndarray) -> Path:
    return save(path, Image.fromarray(values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 255, 65535], [0, 0, 255]),
        ([256, 25600, 51200], [1, 100, 200]),
        ([0, 2048, 4095], [0, 128, 255]),  # 12 bits
        ([0, 17, 200], [0, 17, 200]),  # 8 bits
        ([0, 0, 0], [0, 0, 0]),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_by_their_range(tmp_path: Path, values: list[int], expected: list[int], suffix: str) -> None:
    path = grey_file(tmp_path / f"a.{suffix}", np.repeat(np.array([values], np.uint16), 3, 0))
    assert read(path, 3)[0, :, 1].tolist() == expected


def test_big_endian_16_bits(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 2 65535\n" + np.array([0, 256, 25600, 65535], ">u2").tobytes())
    assert read(tmp_path / "a.pgm", 2)[..., 0].ravel().tolist() == [0, 1, 100, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.2, 1], [0, 51, 255]),
        ([0, 100.4, 255], [0, 100, 255]),
        ([0, 25600, 65535], [0, 100, 255]),
        ([-1, 0, 1], [0, 128, 255]),
        ([-5, 95, 1e6], [0, 0, 255]),
        ([np.nan, 0.2, 1], [51, 51, 255]),  # no number: the least that there is
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
        ([3e5, 3e5, 3e5], [0, 0, 0]),
    ],
)
def test_floating_point_images(tmp_path: Path, values: list[float], expected: list[int]) -> None:
    path = grey_file(tmp_path / "a.tif", np.repeat(np.array([values], np.float32), 3, 0))
    assert read(path, 3)[0, :, 2].tolist() == expected


@pytest.mark.parametrize(("values", "expected"), [([0, 100, 255], [0, 100, 255]), ([-100, 0, 300000], [0, 0, 255])])
def test_32_bit_whole_numbers(tmp_path: Path, values: list[int], expected: list[int]) -> None:
    path = grey_file(tmp_path / "a.tif", np.repeat(np.array([values], np.int32), 3, 0))
    assert read(path, 3)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "La", "RGBa"]
)
def test_every_mode_becomes_rgb(mode: str) -> None:
    white = Image.new("RGBA", (4, 4), (255, 255, 255, 255))
    image = white.convert("P").convert("PA") if mode == "PA" else None
    image = image or (white.convert("LA").convert("La") if mode == "La" else None)
    image = image or (white if mode in ("RGBA", "RGBa", "LA", "L", "1", "P") else white.convert("RGB")).convert(mode)
    found = _to_rgb(image)
    assert found.mode == "RGB"
    assert np.asarray(found).min() >= 250


def test_of_a_film_the_first_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), (shade, 0, 0)) for shade in (200, 100)]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert read(tmp_path / name, 6)[3, 3].tolist() == [200, 0, 0]


def test_progressive_jpeg(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", (64, 64), (120, 90, 30)), progressive=True, quality=95)
    np.testing.assert_allclose(read(path, 16)[8, 8], (120, 90, 30), atol=3)


def test_the_orientation_that_the_camera_noted_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[0, 9] = 255  # upper right
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    path = save(tmp_path / "a.png", pixels, exif=exif)
    assert np.argwhere(read(path, 10)[..., 0]).tolist() == [[9, 9]]
    original = FileImages(tmp_path, ["a.png"], 10, varied=True).original(0)
    assert np.argwhere(original[0].numpy()).tolist() == [[9, 9]]


def test_a_large_jpeg_that_is_decoded_smaller_looks_the_same(tmp_path: Path) -> None:
    image = Image.new("RGB", (1600, 1200), (120, 90, 30))
    ImageDraw.Draw(image).ellipse((500, 300, 1100, 900), fill=(20, 200, 220))
    photo = read(save(tmp_path / "a.jpg", image, quality=95), 32).astype(int)
    exact = read(save(tmp_path / "a.png", image), 32).astype(int)
    assert np.abs(photo - exact).mean() < 2


def test_the_original_has_its_own_size(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((30, 50, 3), np.uint8))
    assert FileImages(tmp_path, [path.name], 8, varied=True).original(0).shape == (3, 30, 50)
    assert FileImages(tmp_path, [path.name], 8, varied=False).original(0).shape == (3, 8, 8)


def test_extreme_shapes(tmp_path: Path) -> None:
    assert (read(save(tmp_path / "a.png", np.full((1, 900, 3), 7, np.uint8)), 16) == 7).all()
    assert (read(save(tmp_path / "b.png", np.full((1, 1, 3), 9, np.uint8)), 16) == 9).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_truncated_empty_missing_and_other_files_are_named(tmp_path: Path, noise: np.ndarray, name: str) -> None:
    path = save(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[:-80])
    with pytest.raises(StripeError, match=rf"{name} cannot be read"):
        read(path, 10)
    for content in (b"", b"not an image"):
        path.write_bytes(content)
        with pytest.raises(StripeError, match=rf"{name} cannot be read as an image \(in no known format\)"):
            read(path, 10)
    path.unlink()
    with pytest.raises(StripeError, match=rf"{name} cannot be read"):
        read(path, 10)


def test_an_image_that_would_fill_the_memory_is_refused(
    tmp_path: Path, noise: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", noise)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(StripeError, match=r"a\.png cannot be read .*bomb"):
        read(path, 10)


def test_common_size(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / name, np.zeros((4, 6, 3), np.uint8))
    save(tmp_path / "c.png", np.zeros((6, 4, 3), np.uint8))
    assert common_size(tmp_path, ["a.png", "b.png"]) == (6, 4)
    assert common_size(tmp_path, ["a.png", "c.png"]) is None
