"""Writing of a capture: refusals before anything is written, unusual file systems, and unusual names."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stripe.capture import CaptureSession, capture, open_capture
from stripe.capture.file import CaptureFile
from stripe.capture.text import attribute, group_name, text
from stripe.capture.thumbnails import thumbnails
from stripe.errors import StripeError
from tests.capture.test_file import holds, layout, site, write


class Batches:
    def __init__(self, *batches: tuple[Tensor, Tensor]) -> None:
        self.batches, self.num_images = batches, sum(len(images) for images, _ in batches)

    def __iter__(self):
        return iter(self.batches)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "capture.h5"


@pytest.mark.parametrize(
    ("start", "shape"),
    [
        (0, (4, 2, 3)),  # as many numbers, otherwise laid out
        (0, (4, 6)),
        (0, (5, 3, 2)),  # an image too many
        (3, (2, 3, 2)),
        (-1, (1, 3, 2)),
        (4, (1, 3, 2)),
        (0, (4, 3, 2, 1)),
        (0, ()),
    ],
)
def test_values_that_do_not_fit(path: Path, start: int, shape: tuple[int, ...]) -> None:
    plan = layout()
    with CaptureFile(path, plan) as file:
        write(file, plan, 0)
        before = path.read_bytes()
        with pytest.raises(StripeError, match="has no place for float32 values"):
            file.write(1, start, {"spatial": {"attention": np.ones(shape, np.float32)}})
        assert path.read_bytes() == before
    assert holds(path, plan, 0)


@pytest.mark.parametrize(
    ("labels", "pictures"),
    [
        (np.zeros((4, 1), int), np.zeros((4, 2, 3, 3), np.uint8)),
        (np.zeros(4), np.zeros((4, 2, 3, 3), np.uint8)),
        (np.zeros(5, int), np.zeros((5, 2, 3, 3), np.uint8)),
        (np.zeros(4, int), np.zeros((4, 3, 2, 3), np.uint8)),
        (np.zeros(4, int), np.zeros((4, 4, 4, 3), np.uint8)),
        (np.zeros(4, int), np.zeros((4, 2, 3, 3), np.float32)),
    ],
)
def test_images_that_do_not_fit(path: Path, labels: np.ndarray, pictures: np.ndarray) -> None:
    with CaptureFile(path, layout()) as file, pytest.raises(StripeError, match="has no place for"):
        file.write_images(0, labels, pictures)


@pytest.mark.parametrize("sizes", [(8, 12, 16), (16, 8, 8), (8, 8, 80)])
def test_images_of_another_size(se_net: nn.Module, path: Path, sizes: tuple[int, ...]) -> None:
    first = sizes[0]
    good = Batches(*[(torch.ones(2, 3, first, first), torch.zeros(2).long()) for _ in sizes])
    bad = Batches(*[(torch.ones(2, 3, size, size), torch.zeros(2).long()) for size in sizes])
    with pytest.raises(StripeError, match=rf"different sizes, such as \(3, {first}, {first}\)"):
        capture(se_net, bad, path)
    with CaptureSession(se_net, good, path, epochs=[0, 1]) as session:
        session.record(0)
    with CaptureSession(se_net, bad, path, epochs=[0, 1]) as session, pytest.raises(StripeError):
        session.record(1)
    assert open_capture(path)["epoch"].values.tolist() == [0]


@pytest.mark.parametrize(("value", "fits"), [(65504.0, True), (65600.0, False), (-1e6, False)])
def test_float16_does_not_overflow(path: Path, value: float, fits: bool) -> None:
    plan = layout(dtype="float16")
    with CaptureFile(path, plan) as file:
        file.begin(0)
        values = {"layer1.0.se": {"attention": np.full((4, 5), value, np.float32)}}
        if fits:
            file.write(0, 0, values)
        else:
            with pytest.raises(StripeError, match=r'Site layer1\.0\.se has values up to .*dtype="float32"'):
                file.write(0, 0, values)


def test_what_the_network_gave_as_infinite_is_recorded_and_said(path: Path, caplog) -> None:
    plan = layout(num_epochs=1, dtype="float16")
    with CaptureFile(path, plan) as file:
        file.begin(0)
        file.write(0, 0, {"layer1.0.se": {"attention": np.array([[np.inf, np.nan, 0, 1, 2]] * 4, np.float32)}})
        file.finish(0, 0.1)
    held = open_capture(path)["sites/layer1.0.se/attention"].values
    assert np.isposinf(held[0, :, 0]).all()
    assert np.isnan(held[0, :, 1]).all()
    assert "8 NaN or infinite values at epoch 0" in caplog.text


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV])
def test_no_hard_links(path: Path, number: int, monkeypatch) -> None:
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    for name in ("link", "chmod", "fsync"):
        monkeypatch.setattr(
            os, name, refuse if name != "fsync" or number in (errno.ENOTSUP, errno.ENOSYS) else os.fsync
        )
    plan = layout()
    with CaptureFile(path, plan) as file:
        write(file, plan, 0)
    with CaptureFile(path, plan) as file:
        assert file.completed == {0}
    assert list(path.parent.iterdir()) == [path]


def test_names_that_are_not_utf8(path: Path) -> None:
    odd = ["caf\udce9.png", "\udcff/\udcfe.png", "ü.png", "a\0b"]
    sites = tuple(site(name) for name in ("a/b", "..", "\udcff", "é", "x\0y"))
    attrs = {"data": "folder:\udcff", "classes": ["\udce9", "b"], "note": None, "large": 2**70}
    plan = layout(num_epochs=1, paths=tuple(odd), sites=sites, attrs=attrs)
    for _ in range(2):  # it is the same when it is resumed
        with CaptureFile(path, plan) as file:
            write(file, plan, 0)
    tree = open_capture(path)
    assert tree["path"].values.tolist() == ["caf\\udce9.png", "\\udcff/\\udcfe.png", "ü.png", "a\\x00b"]
    assert set(tree["sites"].children) == {"a\\x2fb", "\\x2e\\x2e", "\\udcff", "é", "x\\x00y"}
    assert tree.attrs["data"] == "folder:\\udcff"
    with pytest.raises(StripeError, match="other images"):
        CaptureFile(path, layout(num_epochs=1, paths=("caf\udce8.png", *odd[1:]), sites=sites, attrs=attrs))


def test_text() -> None:
    assert text("plain ü") == "plain ü"
    assert group_name("layer1.0.se") == "layer1.0.se"
    assert group_name("") == "model"
    assert attribute(np.float32(0.5)) == 0.5
    assert attribute(True) == 1
    assert attribute({"a": Path("b")}) == '{"a": "b"}'


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (torch.rand(2, 3, 4, 6), (2, 4, 6, 3)),
        (torch.rand(2, 3, 4, 128), (2, 2, 64, 3)),
        (torch.rand(2, 2, 4, 4), (2, 4, 4, 3)),
        (torch.rand(2, 3, 5, 4, 4), (2, 4, 4, 3)),
        (torch.rand(0, 3, 100, 100), None),
        (torch.rand(2, 3, 4, 4) > 0.5, (2, 4, 4, 3)),
        (torch.full((2, 3, 4, 4), torch.nan), (2, 4, 4, 3)),
        (torch.rand(2, 3, 64), None),
        (torch.rand(2, 10), None),
        (torch.rand(2, 0, 4, 4), None),
        (torch.rand(2, 3, 0, 4), None),
        (torch.rand(2, 3, 2, 2, 2, 2), None),
        (torch.rand(2, 3, 4, 4, dtype=torch.complex64), None),
    ],
)
def test_thumbnails(images: Tensor, shape: tuple[int, ...] | None) -> None:
    small = thumbnails(images)
    if len(images):
        assert (None if small is None else tuple(small.shape)) == shape
        assert small is None or small.dtype == torch.uint8


def test_a_video_shows_its_middle_frame() -> None:
    video = torch.zeros(1, 3, 5, 4, 4, dtype=torch.uint8)
    video[:, :, 2] = 200
    assert (thumbnails(video) == 200).all()
    assert (thumbnails(torch.zeros(1, 5, 3, 4, 4, dtype=torch.uint8)) == 0).all()


def test_what_is_infinite_does_not_decide_the_range() -> None:
    image = torch.tensor([[0.0, 1.0], [torch.inf, torch.nan]]).expand(1, 3, 2, 2)
    assert thumbnails(image)[0, 0, :, 0].tolist() == [0, 255]


class Signal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return (x * torch.sigmoid(x.mean(2, keepdim=True))).mean(2)


def test_signals_have_no_thumbnails(path: Path) -> None:
    loader = DataLoader(TensorDataset(torch.rand(4, 3, 16)), batch_size=2)
    for last in (1, 2):
        with CaptureSession(Signal(), loader, path, epochs=range(last)) as session:
            session.record(last - 1)
    tree = open_capture(path)
    assert tree["epoch"].values.tolist() == [0, 1]
    assert "thumbnail" not in tree
