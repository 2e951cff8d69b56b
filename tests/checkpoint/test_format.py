import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from stripe import checkpoint
from stripe.errors import StripeError
from stripe.models import build, from_meta


def test_a_model_comes_back_from_its_file_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("resnet11", num_classes=3, attention="cbam").eval()
    path = tmp_path / "new" / "folder" / "epoch_004.safetensors"
    meta = {"model": "resnet11", "attention": "cbam", "num_classes": 3, "epoch": 4, "seed": 7}
    checkpoint.save(path, model, meta)

    found = checkpoint.read(path)
    restored = from_meta(found.meta).eval()
    assert checkpoint.load_into(restored, found) == []
    assert found.epoch == 4
    assert meta.items() <= found.meta.items()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(restored(x), model(x), rtol=0, atol=0)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_file_is_plain_safetensors_and_says_what_made_it(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, model, {"epoch": 1, "note": "η² ≈ 1"})
    assert torch.equal(load_file(path)["weight"], model.weight)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["stripe"])
    assert header["note"] == "η² ≈ 1"
    assert {"stripe", "torch", "created", "command"} <= header["provenance"].keys()


def test_readable_by_others_like_any_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    checkpoint.save(tmp_path / "a.safetensors", nn.Linear(2, 2), {})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 3)
        self.right = nn.Linear(3, 3)
        self.right.weight = self.left.weight


@pytest.mark.parametrize(
    "model",
    [
        Tied(),
        nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        nn.Linear(2, 2).to(torch.bfloat16),
        nn.BatchNorm2d(3),
    ],
    ids=["tied", "channels last", "bfloat16", "counter"],
)
def test_awkward_tensors(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, model, {})
    found = checkpoint.read(path).state_dict
    expected = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)
    assert all(found[key].dtype == expected[key].dtype for key in found)


def test_wrappers_leave_no_trace(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    wrapped = nn.DataParallel(torch.compile(model))
    assert all(key.startswith("module._orig_mod.") for key in wrapped.state_dict())
    checkpoint.save(tmp_path / "a.safetensors", wrapped, {})
    assert checkpoint.read(tmp_path / "a.safetensors").state_dict.keys() == model.state_dict().keys()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, nn.Linear(2, 2), {"epoch": 1})
    before = path.read_bytes()

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StripeError, match=r"a\.safetensors cannot be written: No space left on device"):
        checkpoint.save(path, nn.Linear(2, 2), {"epoch": 2})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StripeError, match="cannot be written"):
        checkpoint.save(tmp_path / "file" / "a.safetensors", nn.Linear(2, 2), {})


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StripeError, match=r"written as \.safetensors"):
        checkpoint.save(tmp_path / "a.pth", nn.Linear(2, 2), {})
