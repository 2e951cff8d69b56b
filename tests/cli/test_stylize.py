"""``stripe stylize``: images of any size and kind, and what is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from stripe import checkpoint
from stripe.asr import reparameterize
from stripe.cli import main
from stripe.data import Normalization
from stripe.data.pictures import read_picture
from stripe.models import build
from stripe.models.style import stylize

META = {
    "model": "style",
    "args": {"norm": "bn", "width": 2, "blocks": 1},
    "num_classes": 3,
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "task": {"name": "style"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with ASR and weights at random."""
    torch.manual_seed(0)
    model = build("style", args=META["args"])
    reparameterize(model, start="alive")
    model(torch.randn(2, 3, 16, 16))
    path = tmp_path_factory.mktemp("trained") / "style.safetensors"
    checkpoint.save(path, model, {**META, "asr": {"attention": "se"}})
    return path


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["stylize", *map(str, args)])


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def picture(kind: str, path: Path) -> tuple[int, int]:
    """Write a picture of a kind; its width and height as one looks at it."""
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees
        Image.fromarray(noise(20, 30)).save(path, exif=exif)
        return 20, 30
    shape = {"one": (1, 1), "odd": (23, 37), "wide": (3, 90)}.get(kind, (20, 30))
    if kind == "deep":
        Image.fromarray(noise(*shape, channels=1).astype(np.uint16) * 257).save(path)
    elif kind == "palette":
        Image.fromarray(noise(*shape)).quantize(16).save(path)
    else:
        Image.fromarray(noise(*shape, channels={"grey": 1, "alpha": 4}.get(kind, 3))).save(path)
    return shape[1], shape[0]


@pytest.mark.parametrize("kind", ["photo", "odd", "wide", "one", "grey", "alpha", "turned", "deep", "palette"])
def test_images_of_any_kind_keep_their_size(kind: str, trained: Path, tmp_path: Path) -> None:
    source, target = tmp_path / f"{kind}.png", tmp_path / "out" / "made.png"
    size = picture(kind, source)
    result = run("--ckpt", trained, "--image", source, "-o", target)
    assert result.exit_code == 0, result.output
    with Image.open(target) as made:
        assert made.size == size
        assert made.mode == ("RGBA" if kind == "alpha" else "RGB")
        if kind == "alpha":
            assert np.array_equal(np.array(made)[..., 3], noise(20, 30, 4)[..., 3])


def test_the_picture_is_what_the_network_makes(trained: Path, tmp_path: Path) -> None:
    """The network of the checkpoint, with its ASR in place, in Python."""
    picture("photo", tmp_path / "photo.png")
    run("--ckpt", trained, "--image", tmp_path / "photo.png", "-o", tmp_path / "made.png")
    model = checkpoint.restore(checkpoint.read(trained)).eval()
    image = read_picture(tmp_path / "photo.png")[None]
    expected = stylize(model, image, Normalization((0.5,) * 3, (0.25,) * 3))
    assert torch.equal(read_picture(tmp_path / "made.png"), expected[0])


def test_large_images_can_be_scaled_down(trained: Path, tmp_path: Path) -> None:
    Image.fromarray(noise(100, 60)).save(tmp_path / "large.jpg")
    run("--ckpt", trained, "--image", tmp_path / "large.jpg", "-o", tmp_path / "made.jpg", "--size", 50)
    with Image.open(tmp_path / "made.jpg") as made:
        assert made.size == (30, 50)


def test_images_of_a_folder_keep_their_names(trained: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "more/c.gif"):
        picture("photo", photos / name)
    (photos / "notes.txt").write_text("no image by its name")
    result = run("--ckpt", trained, "--image", photos, "-o", photos / "made")
    assert result.exit_code == 0, result.output
    written = sorted(path.relative_to(photos).as_posix() for path in (photos / "made").rglob("*.*"))
    assert written == ["made/a.png", "made/b.jpg", "made/more/c.gif"]
    assert run("--ckpt", trained, "--image", photos, "-o", photos / "made").exit_code == 0  # without its own results
    (photos / "broken.png").write_text("no image")
    result = run("--ckpt", trained, "--image", photos, "-o", photos / "made")
    assert result.exit_code == 1
    assert "broken.png cannot be read as an image" in result.output
    assert "1 of 4 images could not be transformed" in result.output


def test_what_is_no_picture_is_refused_in_one_sentence(trained: Path, tmp_path: Path) -> None:
    source = tmp_path / "text.jpg"
    source.write_text("words")
    photo = tmp_path / "photo.png"
    picture("photo", photo)
    (tmp_path / "empty").mkdir()
    cases = {
        (source, tmp_path / "made.png"): "text.jpg cannot be read as an image (in no known format)",
        (tmp_path / "absent.png", tmp_path / "made.png"): "there is no picture",
        (photo, tmp_path / "made.xyz"): "the format is not known by its name; end it in .png or .jpg",
        (photo, tmp_path / "made"): "the format is not known by its name",
        (photo, photo): "is the image itself, which would be lost",
        (photo, tmp_path): "is a folder; name the file",
        (tmp_path / "empty", tmp_path / "made"): "No images were found",
        (tmp_path, tmp_path): "the images of a folder go into another folder",
    }
    for (image, output), message in cases.items():
        result = run("--ckpt", trained, "--image", image, "-o", output)
        assert result.exit_code == 1
        assert message in result.output
        assert "Traceback" not in result.output
    assert not (tmp_path / "made.png").exists()


def test_a_huge_image_is_refused_before_it_takes_the_memory(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture("photo", tmp_path / "photo.png")
    monkeypatch.setattr("os.sysconf", lambda name: 1024 if name == "SC_PAGE_SIZE" else 16)
    result = run("--ckpt", trained, "--image", tmp_path / "photo.png", "-o", tmp_path / "made.png")
    assert result.exit_code == 1
    assert "an image of 30×20 pixels is too large" in result.output
    assert "give --size" in result.output


def test_a_checkpoint_of_another_task_is_refused(trained: Path, tmp_path: Path) -> None:
    picture("photo", tmp_path / "photo.png")
    checkpoint.save(tmp_path / "other.safetensors", build("resnet11"), {"model": "resnet11", "num_classes": 10})
    result = run("--ckpt", tmp_path / "other.safetensors", "--image", tmp_path / "photo.png", "-o", tmp_path / "m.png")
    assert result.exit_code == 1
    assert "other.safetensors is no checkpoint of `stripe train --task style`; it is of resnet11" in result.output


def test_a_folder_into_its_parent_and_what_is_hidden(trained: Path, tmp_path: Path) -> None:
    """Beside the images; into the folder itself they do not go, and what a call before made is no image of it."""
    (tmp_path / "photos" / ".cache").mkdir(parents=True)
    for name in ("a.png", "._a.png", ".cache/b.png"):
        picture("photo", tmp_path / "photos" / name)
    for output in (tmp_path, tmp_path / "photos" / "made", tmp_path / "photos" / "made"):
        result = run("--ckpt", trained, "--image", tmp_path / "photos", "-o", output)
        assert (result.exit_code, result.output) == (0, f"{output / 'a.png'}\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "photos").symlink_to(tmp_path / "photos")
    result = run("--ckpt", trained, "--image", tmp_path / "photos" / "made", "-o", tmp_path / "other/photos/made")
    assert result.exit_code == 1
    assert "go into another folder" in result.output


def test_of_an_animation_the_first_picture_is_taken_and_said(trained: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (12, 12), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    result = run("--ckpt", trained, "--image", tmp_path / "film.gif", "-o", tmp_path / "made.png")
    assert result.exit_code == 0
    assert "film.gif has 3 pictures, of which the first is taken." in result.stderr


def test_want_of_memory_is_said_in_one_sentence(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    picture("photo", tmp_path / "photo.png")
    monkeypatch.setattr("stripe.models.style.StyleNetwork.forward", fail)
    result = run("--ckpt", trained, "--image", tmp_path / "photo.png", "-o", tmp_path / "made.png")
    assert result.exit_code == 1
    assert "an image of 30×20 pixels is too large: it needs more than the memory of cpu; give --size" in result.output
