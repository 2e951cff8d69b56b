"""torchvision's own readers on small files in the official formats; only their checksums are switched off."""

import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from stripe.data import load
from stripe.data.memory import MemorySplit
from stripe.data.streamed import StreamedSplit
from stripe.errors import StripeError

GENERATOR = np.random.default_rng(0)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (datasets.cifar, datasets.stl10):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).is_file())


def write_cifar(folder: Path, files: list[str], meta: tuple[str, dict[str, Any]], key: str) -> dict[str, np.ndarray]:
    """Each file holds two images as rows of 3 x 32 x 32 values, red first."""
    folder.mkdir(parents=True)
    rows = {}
    for number, name in enumerate(files):
        rows[name] = GENERATOR.integers(0, 256, (2, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": rows[name], key: [number, 0]}))
    (folder / meta[0]).write_bytes(pickle.dumps(meta[1]))
    return rows


@pytest.mark.usefixtures("unchecked")
def test_cifar10(tmp_path: Path) -> None:
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    classes = list("abcdefghij")
    rows = write_cifar(tmp_path / "cifar-10-batches-py", names, ("batches.meta", {"label_names": classes}), "labels")
    data = load("cifar10", root=tmp_path)
    assert data.classes == tuple(classes)
    assert data.image_size == 32
    assert (data.mean[0], data.std[0]) == (0.4914, 0.2023)
    assert data.train.labels.tolist() == [0, 0, 1, 0, 2, 0, 3, 0, 4, 0]
    assert data.test.paths == ["test/00000", "test/00001"]
    images, labels = next(iter(data.test.loader(2)))
    np.testing.assert_array_equal(images.numpy(), rows["test_batch"].reshape(2, 3, 32, 32))
    assert labels.tolist() == [5, 0]
    assert data.attrs == {"spec": "cifar10", "image_size": 32}


@pytest.mark.usefixtures("unchecked")
def test_cifar100_from_the_environment_at_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(
        tmp_path / "cifar-100-python", ["train", "test"], ("meta", {"fine_label_names": ["a", "b"]}), "fine_labels"
    )
    monkeypatch.setenv("STRIPE_DATA", str(tmp_path))
    data = load("cifar100", image_size=64)
    images, _ = next(iter(data.train.loader(2)))
    assert images.shape == (2, 3, 64, 64)
    assert isinstance(data.train, MemorySplit)
    assert data.train.images.shape == (2, 3, 32, 32)
    assert data.mean != load("shapes").mean


@pytest.mark.usefixtures("unchecked")
def test_stl10(tmp_path: Path) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = GENERATOR.integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    for half in ("train", "test"):
        images.transpose(0, 1, 3, 2).tofile(folder / f"{half}_X.bin")  # the file goes column by column
        np.array([1, 10, 3], np.uint8).tofile(folder / f"{half}_y.bin")  # and counts from 1
    (folder / "unlabeled_X.bin").touch()
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    data = load("stl10", root=tmp_path)
    assert data.classes == tuple("abcdefghij")
    assert data.train.labels.tolist() == [0, 9, 2]
    read, _ = next(iter(data.test.loader(3)))
    np.testing.assert_array_equal(read.numpy(), images)


def test_imagenet(tmp_path: Path) -> None:
    wnids = {"n01": ("crane", "bird"), "n02": ("tench",), "n03": ("crane",)}
    torch.save((wnids, []), tmp_path / "meta.bin")
    for half in ("train", "val"):
        for number, wnid in enumerate(wnids):
            (tmp_path / half / wnid).mkdir(parents=True)
            image = Image.new("RGB", (300 + number, 260), (number, 0, 0))
            image.save(tmp_path / half / wnid / "x.png")
    data = load("imagenet", root=tmp_path)
    assert data.classes == ("crane (n01)", "tench", "crane (n03)")
    assert data.test.paths == [str(Path("val") / wnid / "x.png") for wnid in wnids]
    assert isinstance(data.train, StreamedSplit)
    images, labels = next(iter(data.test.loader(3)))
    assert images.shape == (3, 3, 224, 224)
    assert images[:, 0, 0, 0].tolist() == labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10"])
def test_what_is_not_there_is_said_with_where_and_how(name: str, tmp_path: Path) -> None:
    with pytest.raises(StripeError, match=rf"{name} was not found: looked in {tmp_path}.*download=True.*STRIPE_DATA"):
        load(name, root=tmp_path)


def test_imagenet_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StripeError, match=r"ImageNet was not found.*ILSVRC2012_devkit.*folder:PATH"):
        load("imagenet", root=tmp_path, download=True)


def test_a_damaged_file_is_not_read(tmp_path: Path) -> None:
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    write_cifar(tmp_path / "cifar-10-batches-py", names, ("batches.meta", {}), "labels")
    with pytest.raises(StripeError, match="cifar10 is damaged or incomplete"):
        load("cifar10", root=tmp_path)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that were asked for; none answers."""
    asked: list[str] = []

    def refuse(url: str, *_: Any, **__: Any) -> None:
        asked.append(url)
        raise URLError("no network")

    monkeypatch.setattr(datasets.cifar, "download_and_extract_archive", refuse)
    return asked


def test_nothing_is_downloaded_unless_it_is_asked_for(tmp_path: Path, downloads: list[str]) -> None:
    with pytest.raises(StripeError, match="was not found"):
        load("cifar10", root=tmp_path)
    assert downloads == []
    with pytest.raises(StripeError, match=r"could not be downloaded to .*no network"):
        load("cifar10", root=tmp_path, download=True)
    assert len(downloads) == 1
