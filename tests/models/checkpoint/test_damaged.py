"""Files that are broken, or that want to be."""

import datetime
import os
import pickle
import random
from pathlib import Path
from typing import Any

import h5py
import pytest
import safetensors.torch
import torch
from torch import nn

from stripe.errors import StripeError
from stripe.models import checkpoint

SUFFIXES = [".pth", ".pth.tar", ".safetensors"]


def assert_refused(path: Path, message: str = "") -> None:
    with pytest.raises(StripeError, match=rf"{path.name}.*{message}") as caught:
        checkpoint.read(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(StripeError, match=path.name):
        checkpoint.find([path])


class Malicious:
    """A pickle of this, loaded with plain pickle, creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_the_malicious_pickle_would_work_elsewhere(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Malicious(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrapping", ["bare", "zip", "legacy"])
def test_a_malicious_pickle_does_not_run(tmp_path: Path, protocol: int, wrapping: str) -> None:
    content = {"state_dict": {"w": torch.zeros(2)}, "extra": Malicious(tmp_path / "ran")}
    path = tmp_path / "evil.pth"
    if wrapping == "bare":
        path.write_bytes(pickle.dumps(content["extra"], protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=wrapping == "zip")
    assert_refused(path)
    assert not (tmp_path / "ran").exists()


def test_the_object_that_was_refused_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "extra": Malicious(tmp_path / "ran")}, tmp_path / "a.pth")
    assert_refused(tmp_path / "a.pth", r"Python object \(posix\.mkdir\).*not loaded.*state_dict")
    torch.save({"when": datetime.datetime(2024, 1, 1)}, tmp_path / "b.pth")
    assert_refused(tmp_path / "b.pth", r"Python object \(datetime\.datetime\)")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_pickled_model(tmp_path: Path, zipped: bool) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert_refused(tmp_path / "a.pth", r"torch\.nn\.modules\.linear\.Linear.*model\.state_dict\(\)")


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "a.pt")
    assert_refused(tmp_path / "a.pt", "TorchScript")


@pytest.mark.parametrize("suffix", ["h5", "pth"])
def test_a_capture(tmp_path: Path, suffix: str) -> None:
    with h5py.File(tmp_path / f"capture.{suffix}", "w") as file:
        file["attention"] = [1.0, 2.0]
    assert_refused(tmp_path / f"capture.{suffix}", r"no checkpoint, but HDF5, as captures are.*best\.safetensors")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"hello, I am a text", b"<html>404</html>", b"PK\x03\x04", b"{}", b"\x80\x02}."]
)
def test_no_checkpoint_at_all(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(StripeError, match=path.name):
        checkpoint.read(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_random_bytes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for seed in range(200):
        path.write_bytes(random.Random(seed).randbytes(64))
        with pytest.raises(StripeError, match=path.name):
            checkpoint.read(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_cut_short_anywhere(tmp_path: Path, kind: str) -> None:
    state = {"weight": torch.randn(20, 20), "bias": torch.randn(20)}
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert_refused(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_files_and_folders(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(StripeError, match=rf"{path.name}.*[Nn]o such file"):
        checkpoint.read(path)
    path.mkdir()
    with pytest.raises(StripeError, match=path.name):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "meta",
    [
        *("{not json", "[1, 2]", '"text"', '{"image_size": "big"}', '{"image_size": true}', '{"args": [1]}'),
        *('{"learning_rate": "fast"}', '{"model": 3}', '{"num_classes": 2.5}', '{"fused": 1}'),
    ],
)
def test_a_damaged_description(tmp_path: Path, meta: str) -> None:
    safetensors.torch.save_file({"w": torch.zeros(1)}, tmp_path / "a.safetensors", {"stripe": meta})
    assert_refused(tmp_path / "a.safetensors")
