import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from stripe import checkpoint
from stripe.errors import StripeError

STATE = {"w": torch.zeros(1)}


def touch(folder: Path, *names: str) -> list[Path]:
    """Make checkpoints that hold no epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        torch.save(STATE, folder / name)
    return [folder / name for name in names]


def test_natural_order_and_no_epoch_last(tmp_path: Path) -> None:
    touch(tmp_path, "model_best.pth", "epoch_10.pth", "epoch_9.pth", "b2.pth", "b10.pth", "epoch_1.pth")
    found = [path.name for path in checkpoint.find([tmp_path])]
    assert found == ["epoch_1.pth", "epoch_9.pth", "epoch_10.pth", "b2.pth", "b10.pth", "model_best.pth"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(epochs=st.lists(st.integers(0, 2000), min_size=1, max_size=6, unique=True))
def test_order_is_by_the_epoch_that_files_hold(tmp_path_factory: pytest.TempPathFactory, epochs: list[int]) -> None:
    folder = tmp_path_factory.mktemp("run")
    for i, epoch in enumerate(epochs):  # names in another order than epochs
        if i % 2:
            torch.save({"epoch": epoch, "state_dict": STATE}, folder / f"{'abcdef'[i]}.pth")
        else:
            checkpoint.save(folder / f"{'abcdef'[i]}.safetensors", nn.Linear(1, 1), {"epoch": epoch})
    assert [checkpoint.read(path).epoch for path in checkpoint.find([folder])] == sorted(epochs)


def test_reading_an_epoch_does_not_read_tensors(tmp_path: Path) -> None:
    for epoch in (2, 1):
        checkpoint.save(tmp_path / f"{'xba'[epoch]}.safetensors", nn.Linear(1000, 1000), {"epoch": epoch})
    opened = []

    class HeaderOnly:
        """An open file without ``get_tensor``."""

        def __init__(self, file: object) -> None:
            self.file = file

        def __enter__(self) -> "HeaderOnly":
            return self

        def __exit__(self, *args: object) -> None:
            opened.append(self)

        def metadata(self) -> dict[str, str]:
            return self.file.metadata()  # type: ignore[attr-defined,no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        from stripe.checkpoint import reader

        original = reader.safe_open
        patch.setattr(reader, "safe_open", lambda *a, **k: HeaderOnly(original(*a, **k)))
        assert [path.name for path in checkpoint.find([tmp_path])] == ["b.safetensors", "a.safetensors"]
    assert len(opened) == 2


def test_globs_folders_and_files_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "run", "epoch_1.pth", "epoch_2.pth", "epoch_3.pth.tar")
    (tmp_path / "run" / "metrics.csv").touch()
    (tmp_path / "run" / "epoch_4.safetensors.tmp").touch()
    (tmp_path / "run" / ".epoch_5.pth").touch()
    three = [Path("run/epoch_1.pth"), Path("run/epoch_2.pth"), Path("run/epoch_3.pth.tar")]
    assert checkpoint.find(["run"]) == three
    assert checkpoint.find(["run/*"]) == three
    assert checkpoint.find(["r*"]) == three  # a glob that matches a folder
    assert checkpoint.find(["**/*.pth"]) == three[:2]
    assert checkpoint.find(["run/epoch_2.pth", "run/*.pth", str(tmp_path / "run"), "run/../run"]) == [
        Path("run/epoch_1.pth"),
        Path("run/epoch_2.pth"),
        tmp_path / "run/epoch_3.pth.tar",
    ]
    assert checkpoint.find([tmp_path / "run" / "epoch_1.pth"]) == [tmp_path / "run" / "epoch_1.pth"]


def test_a_link_to_a_checkpoint_is_the_same_checkpoint(tmp_path: Path) -> None:
    (epoch,) = touch(tmp_path, "epoch_3.pth")
    (tmp_path / "latest.pth").symlink_to(epoch)
    assert len(checkpoint.find([tmp_path])) == 1


@pytest.mark.parametrize("name", ["last.ckpt", "a_best.ckpt", "model_best.pth.tar"])
@pytest.mark.parametrize("linked", [True, False])
def test_a_copy_is_left_out_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, linked: bool
) -> None:
    for epoch in range(2):
        torch.save(
            {"epoch": epoch, "state_dict": {"w": torch.full((3,), float(epoch))}}, tmp_path / f"epoch={epoch}.ckpt"
        )
    if linked:
        (tmp_path / name).hardlink_to(tmp_path / "epoch=1.ckpt")
    else:
        shutil.copy(tmp_path / "epoch=1.ckpt", tmp_path / name)
    assert [path.name for path in checkpoint.without_copies(checkpoint.find([tmp_path]))] == [
        "epoch=0.ckpt",
        "epoch=1.ckpt",
    ]
    assert f"{tmp_path / name} is a copy of {tmp_path / 'epoch=1.ckpt'}, and left out" in caplog.text


def test_epochs_in_which_nothing_changed_are_no_copies(tmp_path: Path) -> None:
    for epoch in range(3):
        safetensors.torch.save_file(STATE, tmp_path / f"epoch_{epoch}.safetensors")
    safetensors.torch.save_file(STATE, tmp_path / "last.safetensors")
    assert [path.name for path in checkpoint.without_copies(checkpoint.find([tmp_path]))] == [
        f"epoch_{epoch}.safetensors" for epoch in range(3)
    ]


def test_names_with_brackets_and_without_suffix(tmp_path: Path) -> None:
    paths = touch(tmp_path / "run[1]", "epoch[2].pth", "weights")
    assert checkpoint.find([paths[0]]) == paths[:1]
    assert checkpoint.find([paths[1]]) == paths[1:]
    assert checkpoint.find([tmp_path / "run[1]"]) == paths[:1]


def test_patterns_without_a_match(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").touch()
    with pytest.raises(StripeError, match=r"no checkpoint matches .*nothing\*"):
        checkpoint.find([tmp_path / "nothing*"])
    with pytest.raises(StripeError, match=r"no checkpoint matches .*absent\.pth"):
        checkpoint.find([tmp_path / "absent.pth"])
    with pytest.raises(StripeError, match=r"no checkpoint matches .*\*\.csv; files end in \.safetensors"):
        checkpoint.find([tmp_path / "*.csv"])
    with pytest.raises(StripeError, match=r"no checkpoint .* in the folder"):
        checkpoint.find([tmp_path])
    touch(tmp_path / "checkpoints", "epoch_1.pth")
    with pytest.raises(StripeError, match=r"there are some in .*checkpoints"):
        checkpoint.find([tmp_path])
    with pytest.raises(StripeError, match="no checkpoint was named"):
        checkpoint.find([])


def test_one_pattern_without_a_match_is_an_error_even_beside_others(tmp_path: Path) -> None:
    paths = touch(tmp_path, "epoch_1.pth")
    with pytest.raises(StripeError, match="no checkpoint matches"):
        checkpoint.find([*paths, tmp_path / "epoch_2.pth"])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "epoch_1.pth")
    safetensors.torch.save_file(STATE, tmp_path / "epoch_2.safetensors")
    content = (tmp_path / "epoch_2.safetensors").read_bytes()
    (tmp_path / "epoch_2.safetensors").write_bytes(content[:-1])
    with pytest.raises(StripeError, match=r"epoch_2\.safetensors"):
        checkpoint.find([tmp_path])
