"""Damaged and malicious checkpoint files."""

import datetime
import os
import pickle
import random
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from stripe import checkpoint
from stripe.errors import StripeError

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


def damaged(content: bytes, seed: random.Random) -> bytes:
    """A file with flipped bits, an absurd number, or something missing or twice."""
    found = bytearray(content)
    at, length = seed.randrange(len(found)), seed.randrange(1, 64)
    match seed.randrange(5):
        case 0 | 1:
            for _ in range(seed.choice((1, 1, 2, 8))):
                found[seed.randrange(len(found))] ^= 1 << seed.randrange(8)
        case 2:
            found[at : at + 8] = seed.choice(
                (b"\xff" * 4, b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\x00\x00\x00\x80", bytes(8))
            )
        case 3:
            del found[at : at + length]
        case 4:
            found[at:at] = found[length : 2 * length]
    return bytes(found)


@pytest.mark.parametrize("kind", ["zip", "legacy", "protocol 4", "safetensors"])
def test_damaged_anywhere(tmp_path: Path, kind: str) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    if kind == "safetensors":
        meta = {"model": "resnet11", "epoch": 1, "num_classes": 3, "classes": ["a"], "learning_rate": 0.1, "args": {}}
        checkpoint.save(path, model, meta)
    else:
        content = {"epoch": 1, "state_dict": model.state_dict(), "history": np.arange(3), "folder": Path("/x")}
        torch.save(
            content,
            path,
            pickle_protocol=4 if kind == "protocol 4" else 2,
            _use_new_zipfile_serialization=kind != "legacy",
        )
    whole, seed, outcomes = path.read_bytes(), random.Random(kind), Counter[str]()
    for _ in range(150):
        path.write_bytes(damaged(whole, seed))
        try:
            checkpoint.find([path])
            checkpoint.load_into(model, checkpoint.read(path))
            outcomes["loaded"] += 1
        except StripeError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > outcomes["loaded"] > 0  # what was damaged may be a weight


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("header", [2**31, 2**63, 2**64 - 1])
def test_a_header_that_is_said_to_be_huge(tmp_path: Path, header: int, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(struct.pack("<Q", header) + b"{}")
    assert_refused(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775808]}}',
        b'{"a":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}',
        b'{"a":{"dtype":"X1","shape":[2],"data_offsets":[0,8]}}',
        b"\xff\xfe{}",
        b"[1]",
        b"[" * 100_000,
    ],
)
def test_an_absurd_header(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert_refused(tmp_path / "a.safetensors")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"a{suffix}")
    assert_refused(tmp_path / f"a{suffix}", "no file, but a folder, a pipe or a device")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["a\0b", "~nobody-of-that-name/a", "a" * 5000])
def test_names_that_no_file_has(name: str, suffix: str) -> None:
    with pytest.raises(StripeError):
        checkpoint.read(name + suffix)
    with pytest.raises(StripeError):
        checkpoint.find([name + suffix])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_name_that_is_not_utf_8(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".safetensors":
        checkpoint.save(path, nn.Linear(1, 1), {"epoch": 3})
    else:
        torch.save({"epoch": 3, "state_dict": nn.Linear(1, 1).state_dict()}, path)
    try:
        path = path.rename(tmp_path / os.fsdecode(b"\xff" + suffix.encode()))
    except OSError:
        pytest.skip("this file system takes no such names")
    assert checkpoint.read(path).epoch == 3
    assert checkpoint.find([path]) == [path]


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
        *('{"num_classes": 0}', '{"num_classes": 1e99}', '{"num_classes": %s}' % ("9" * 400), '{"image_size": -1}'),
        *('{"learning_rate": NaN}', '{"learning_rate": %s}' % ("9" * 400), '{"epoch": -1}', '{"classes": [1]}'),
        *('{"mean": 0.5}', "[" * 100_000, '{"num_classes": %s}' % ("9" * 5000)),
        *('{"learning_rate": "fast"}', '{"model": 3}', '{"num_classes": 2.5}', '{"fused": 1}'),
    ],
)
def test_a_damaged_description(tmp_path: Path, meta: str) -> None:
    safetensors.torch.save_file({"w": torch.zeros(1)}, tmp_path / "a.safetensors", {"stripe": meta})
    assert_refused(tmp_path / "a.safetensors")
