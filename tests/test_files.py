from pathlib import Path

import pytest

from stripe.errors import StripeError
from stripe.files import replacing, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["b.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as unfinished:
            unfinished.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StripeError, match=r"file/a\.txt cannot be written: File exists"):
        write_whole(tmp_path / "file" / "a.txt", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StripeError, match="folder cannot be written: Is a directory"):
        write_whole(tmp_path / "folder", b"")
    assert names(tmp_path) == ["file", "folder"]


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.tmp").write_text("half of a much longer content")
    write_whole(tmp_path / "a.txt", b"whole")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "whole"}
