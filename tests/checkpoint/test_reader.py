import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from stripe import checkpoint
from stripe.errors import StripeError

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "attention_module.bias": torch.ones(2)}


def prefixed(prefix: str) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((prefix + key, value) for key, value in STATE.items())


def assert_read(path: Path, epoch: int | None = None) -> None:
    found = checkpoint.read(path)
    assert found.state_dict.keys() == STATE.keys()
    assert all(torch.equal(found.state_dict[key], STATE[key]) for key in STATE)
    assert found.epoch == epoch
    assert found.path == path


@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict", "net", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_where_the_state_dict_lies(tmp_path: Path, key: str | None, prefix: str) -> None:
    content: Any = prefixed(prefix) if key is None else {"epoch": 3, "arch": "x", key: prefixed(prefix)}
    torch.save(content, tmp_path / "a.pth")
    assert_read(tmp_path / "a.pth", None if key is None else 3)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pth.tar", ".bin", ".ckpt", ""])
@pytest.mark.parametrize("zipped", [True, False])
def test_formats_of_torch(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"a{suffix}"
    torch.save({"state_dict": STATE}, path, _use_new_zipfile_serialization=zipped)
    assert_read(path)


def test_safetensors_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "model-12.safetensors"
    safetensors.torch.save_file(STATE, path, {"format": "pt"})
    assert_read(path, 12)
    assert checkpoint.read(path).meta == {}


def test_weights_come_before_their_average(tmp_path: Path) -> None:
    torch.save({"state_dict_ema": {"w": torch.zeros(1)}, "state_dict": STATE}, tmp_path / "a.pth")
    assert_read(tmp_path / "a.pth")


def test_what_training_loops_store_beside_the_weights(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9)
    content = {
        "epoch": np.int64(5),
        "best_acc": np.float64(71.5),
        "loss": np.float32(0.5),
        "args": argparse.Namespace(lr=0.1, model="x"),
        "optimizer": optimizer.state_dict(),
        "state_dict": STATE,
    }
    torch.save(content, tmp_path / "a.pth.tar")
    assert_read(tmp_path / "a.pth.tar", 5)


def test_numpy_scalars_as_numpy_1_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": STATE, "acc": np.float64(1)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"numpy._core.multiarray" in content
    path.write_bytes(content.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"))
    assert_read(path)


def test_extra_state_of_modules_is_no_tensor(tmp_path: Path) -> None:
    torch.save({**STATE, "quantizer._extra_state": {"bits": 8}}, tmp_path / "a.pth")
    assert_read(tmp_path / "a.pth")


def test_a_submodule_named_module_is_no_wrapper(tmp_path: Path) -> None:
    torch.save({"module.weight": torch.zeros(1), "fc.weight": torch.zeros(1)}, tmp_path / "a.pth")
    assert set(checkpoint.read(tmp_path / "a.pth").state_dict) == {"module.weight", "fc.weight"}


@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        ("epoch_12.pth", 12),
        ("epoch=12-step=900.ckpt", 12),
        ("resnet83-se_ep007.pt", 7),
        ("Epoch-3.safetensors", 3),
        ("checkpoint-12.pth.tar", 12),
        ("ckpt5.pth", 5),
        ("0012.pth", 12),
        ("model_best.pth.tar", None),
        ("resnet50.pth", None),
        ("resnet-50.pth", None),
        ("wide_resnet50_2.pth", None),
        ("resnet18-5c106cde.pth", None),
        ("model-12345678.pth", None),
        ("deep20.pth", None),
    ],
)
def test_epoch_in_the_name(tmp_path: Path, name: str, epoch: int | None) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(STATE, path)
    else:
        torch.save(STATE, path)
    assert_read(path, epoch)


def test_the_epoch_inside_wins_over_the_name(tmp_path: Path) -> None:
    torch.save({"epoch": 13, "state_dict": STATE}, tmp_path / "checkpoint-12.pth")
    assert_read(tmp_path / "checkpoint-12.pth", 13)


@pytest.mark.parametrize("epoch", ["12", None, 1.5, True, [1]])
def test_an_epoch_that_is_no_number_is_none(tmp_path: Path, epoch: Any) -> None:
    torch.save({"epoch": epoch, "state_dict": STATE}, tmp_path / "a.pth")
    assert_read(tmp_path / "a.pth", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no state dict: it holds nothing"),
        ({"epoch": 1, "optimizer": {}}, "holds no state dict: it holds epoch, optimizer"),
        ({"state_dict": {"a": 1.0}}, "holds no state dict: it holds state_dict"),
        ({1: torch.zeros(1)}, "holds no state dict"),
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(1), "holds a Tensor"),
    ],
)
def test_files_without_a_state_dict(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(StripeError, match=rf"a\.pth {message}"):
        checkpoint.read(tmp_path / "a.pth")


def test_safetensors_without_tensors(tmp_path: Path) -> None:
    safetensors.torch.save_file({}, tmp_path / "a.safetensors")
    with pytest.raises(StripeError, match="holds no tensors"):
        checkpoint.read(tmp_path / "a.safetensors")
