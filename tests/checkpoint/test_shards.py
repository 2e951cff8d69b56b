"""Checkpoints in several files, and folders that are checkpoints."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from stripe import checkpoint
from stripe.errors import StripeError

PARTS = [{"a.weight": torch.ones(2)}, {"b.weight": torch.zeros(3)}]


def write(folder: Path, suffix: str) -> Path:
    """A folder as Hugging Face's libraries write it; the index."""
    folder.mkdir(exist_ok=True)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    places = {}
    for number, part in enumerate(PARTS, 1):
        name = f"{stem}-{number:05}-of-{len(PARTS):05}.{suffix}"
        if suffix == "safetensors":
            safetensors.torch.save_file(part, folder / name)
        else:
            torch.save(part, folder / name)
        places |= dict.fromkeys(part, name)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 20}, "weight_map": places}))
    (folder / "config.json").write_text("{}")
    torch.save({"param_groups": []}, folder / "optimizer.pt")
    torch.save([1], folder / "rng_state.pth")
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_one_checkpoint(tmp_path: Path, suffix: str) -> None:
    index = write(tmp_path / "checkpoint-500", suffix)
    for path in (index, index.parent):
        found = checkpoint.read(path)
        assert {name: value.tolist() for name, value in found.state_dict.items()} == {
            "a.weight": [1, 1],
            "b.weight": [0, 0, 0],
        }
        assert found.epoch == 500
        assert checkpoint.find([path]) == [index]
    assert checkpoint.find([tmp_path / "checkpoint-*"]) == [index]


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_with_one_file(tmp_path: Path, name: str) -> None:
    if name == "model.safetensors":
        safetensors.torch.save_file(PARTS[0], tmp_path / name)
    torch.save(PARTS[0], tmp_path / "pytorch_model.bin")
    torch.save({"param_groups": []}, tmp_path / "optimizer.pt")
    assert checkpoint.find([tmp_path]) == [tmp_path / name]
    assert checkpoint.read(tmp_path).path == tmp_path / name


@pytest.mark.parametrize("outside", ["../secret.safetensors", "/etc/passwd", "sub/x.bin", "..", "", "a\0b", "a\\b"])
def test_an_index_reads_nothing_outside_of_its_folder(tmp_path: Path, outside: str) -> None:
    safetensors.torch.save_file(PARTS[0], tmp_path / "secret.safetensors")
    index = write(tmp_path / "folder", "safetensors")
    index.write_text(json.dumps({"weight_map": {"a.weight": outside}}))
    with pytest.raises(StripeError, match=r"index\.json names .*, which is no file beside it"):
        checkpoint.read(index)


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "{}", "[" * 100_000, {"weight_map": {}}, {"weight_map": [1]}, {"weight_map": {"a": 3}}]
)
def test_a_damaged_index(tmp_path: Path, content: Any) -> None:
    index = write(tmp_path, "safetensors")
    index.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(StripeError, match=r"model\.safetensors\.index\.json.* index of shards"):
        checkpoint.read(tmp_path)


def test_a_shard_that_is_not_there(tmp_path: Path) -> None:
    index = write(tmp_path, "bin")
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(StripeError, match=r"names pytorch_model-00002-of-00002\.bin, which is not there"):
        checkpoint.read(index)


def test_a_distributed_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".metadata").touch()
    with pytest.raises(StripeError, match=r"distributed checkpoint.*dcp_to_torch"):
        checkpoint.read(tmp_path)
