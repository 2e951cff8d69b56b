"""Damaged files are read or refused by a StripeError; see `damage`, which tries thousands of them."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from stripe.analysis import metrics
from stripe.capture import open_capture
from stripe.capture.lock import open_for_writing
from stripe.errors import StripeError
from stripe.training import Run
from tests import damage

COLUMNS = b"epoch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second\n"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return damage.make(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("kind", "numbers"), [("capture", range(3)), ("maps", range(3)), ("run", range(6)), ("recipe", range(30))]
)
def test_damage(kind: str, numbers: range, whole: dict[str, Path], tmp_path: Path) -> None:
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        assert damage.outcomes(kind, whole[kind], folder, (1, number), light=True) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.attrs.__setitem__("format_version", "one"),
        lambda file: file.attrs.__setitem__("classes", "[cat"),
        lambda file: file.attrs.__setitem__("classes", "1"),
        lambda file: file["sites/1"].attrs.__delitem__("kind"),
        lambda file: file["sites/1"].attrs.__setitem__("kind", 3),
        lambda file: file["sites/1"].attrs.__setitem__("order", "first"),
        lambda file: file["sites/1"].attrs.__setitem__("map_shape", "4×4"),
        lambda file: file["sites/1"].__delitem__("attention"),
        lambda file: file["sites"].__setitem__("5", np.zeros(3)),
        lambda file: file["gradcam/1"].attrs.__setitem__("count", "many"),
        lambda file: file["gradcam/1"].__delitem__("mean"),
        lambda file: file["epoch"].__setitem__(slice(None), [2, 1]),
        lambda file: file["image"].__setitem__(0, 7),
        lambda file: file.__delitem__("complete"),
        lambda file: (file.__delitem__("complete"), file.__setitem__("complete", [1, 1, 1])),
        lambda file: (file.__delitem__("label"), file.__setitem__("label", [0.5] * 6)),
        lambda file: file["sites/1/attention"].dims[2].detach_scale(file["sites/1/channel"]),
    ],
)
def test_what_is_not_as_it_was_written(change, whole: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "capture.h5"
    path.write_bytes(whole["capture"].read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(StripeError, match=r"capture\.h5 can't be read as a capture .* damaged"):
        open_capture(path)


def test_a_file_that_is_cut_short_after_it_was_opened(whole: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "capture.h5"
    path.write_bytes(whole["capture"].read_bytes())
    tree = open_capture(path)
    os.truncate(path, 3000)
    with pytest.raises(StripeError, match=r"capture\.h5 can't be read any more .* cut short"):
        metrics(tree)
    path.unlink()
    with pytest.raises(StripeError, match="moved or cut short"):
        tree["sites/1/attention"].values  # noqa: B018


def test_values_on_the_bytes_of_others(whole: dict[str, Path], tmp_path: Path) -> None:
    """A dataset's address is moved onto another one's: to write into it would destroy that."""
    path = tmp_path / "capture.h5"
    path.write_bytes(whole["capture"].read_bytes())
    with h5py.File(path) as file:
        offsets = [file[name].id.get_offset() for name in ("sites/1/attention", "sites/1/input", "label")]
    content = path.read_bytes()
    for onto in (offsets[1], offsets[2], len(content) + 8, len(content) - 8):
        path.write_bytes(content.replace(offsets[0].to_bytes(8, "little"), onto.to_bytes(8, "little")))
        with pytest.raises(StripeError, match="can't be read as a capture"):
            open_capture(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.csv", b"epoch,learning_rate\n1,0.1\n"),
        ("metrics.csv", b"\xff\xfe\x00"),
        ("metrics.csv", b'epoch,"'),
        ("metrics.csv", COLUMNS + b"1,0.1,a,1,1,1,1,1\n"),
        ("metrics.csv", COLUMNS + b"2,0.1,1,1,1,1,1,1\n1,0.1,1,1,1,1,1,1\n"),
        ("run.json", b'{"format": "stripe-run"}'),
        ("run.json", b'{"format": "stripe-run", "settings": {}, "sessions": {}, "scale": ""}'),
        ("run.json", b'{"format": "stripe-run", "settings": {"model": 3}, "sessions": [], "scale": ""}'),
        ("run.json", b'{"format": "stripe-run", "settings": {"select": "tset"}, "sessions": [], "scale": ""}'),
        ("run.json", b"[" * 100_000),
    ],
)  # fmt: skip
def test_a_run_whose_files_were_damaged(name: str, content: bytes, tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StripeError, match=name):
        _ = run.metrics if name == "metrics.csv" else run.settings


def test_a_setting_that_is_lacking(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": "stripe-run", "settings": {"asr": {}}, "sessions": [], "scale": ""}')
    settings = Run(tmp_path).settings
    for read in (lambda: settings["model"], lambda: settings["asr"]["attention"]):
        with pytest.raises(StripeError, match=r"run\.json does not say (model|attention)"):
            read()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_no_locks(number: int, whole: dict[str, Path], tmp_path: Path, monkeypatch, caplog) -> None:
    """HDF5's own words, by which h5py tells that the lock failed."""
    path = tmp_path / "capture.h5"
    path.write_bytes(whole["capture"].read_bytes())
    real = h5py.File

    def refusing(name, mode="r", locking=None, **options):
        if locking is None:
            raise OSError(number, f"Unable to synchronously open file (unable to lock file, errno = {number})")
        return real(name, mode, locking=locking, **options)

    monkeypatch.setattr(h5py, "File", refusing)
    with open_for_writing(path) as file:
        assert file["complete"][:].all()
    with open_for_writing(path):
        pass
    assert sum("no locks" in record.message for record in caplog.records) == 1  # said once
