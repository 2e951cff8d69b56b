"""Finds the images in class folders and tells those to train on from those to test on."""

import hashlib
import os
from pathlib import Path

from stripe.data.files import EXTENSIONS
from stripe.errors import StripeError

__all__ = ["Files", "find_splits"]

HELD_OUT = 5
"""One image in so many is for testing, where the folder has no split of its own."""

Files = list[list[str]]
"""For each class its files, relative to the data set's folder."""


def find_splits(path: Path) -> tuple[tuple[str, ...], Files, Files]:
    """Look for ``train/`` and ``test|val/`` of class folders, or for class folders alone.

    Args:
        path: The data set's folder.

    Returns:
        The classes in the order of their names, the files to train on and the files to test on.

    Raises:
        StripeError: No images, fewer than two classes, a class without images, or ``train`` and ``test`` of
            different classes.
    """
    if not (path / "train").is_dir():
        classes, files = _scan(path, path)
        halves = [_hold_out(names) for names in files]
        test = [held for _, held in halves]
        if not any(test):
            raise StripeError(f"Every class in {path} has a single image: none is left to test on.")
        return classes, [kept for kept, _ in halves], test

    tests = [path / name for name in ("test", "val") if _subfolders(path / name)]
    if not tests:
        raise StripeError(
            f"{path} has train/ but no class folders in test/ or val/. Add them, or give folder:{path / 'train'}: "
            f"then one image in {HELD_OUT} is held out for testing."
        )
    classes, train = _scan(path / "train", path)
    test_classes, test = _scan(tests[0], path)
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))
        raise StripeError(
            f"{path / 'train'} and {tests[0]} have different classes: {_few(odd)} "
            f"{'is' if len(odd) == 1 else 'are'} in one of them only."
        )
    return classes, train, test


def _scan(folder: Path, root: Path) -> tuple[tuple[str, ...], Files]:
    """The class folders in ``folder``, in the order of their names, and the images in each."""
    classes = _subfolders(folder)
    files = [_image_files(folder / name, root) for name in classes]
    kinds = ", ".join(EXTENSIONS)
    if not any(files):
        loose = any(entry.suffix.lower() in EXTENSIONS for entry in folder.iterdir())
        raise StripeError(
            f"{folder} holds images, but no class folders: put the images of each class into a folder of its own."
            if loose and not classes
            else f"No images were found in {folder}: looked for {kinds} in a folder a class."
        )
    if len(classes) == 1:
        raise StripeError(f"{folder} has only one class folder, {classes[0]!r}; two classes are needed at least.")
    empty = [name for name, names in zip(classes, files, strict=True) if not names]
    if empty:
        raise StripeError(f"Class folders without images in {folder}: {_few(empty)} (looked for {kinds}).")
    return tuple(classes), files


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _image_files(folder: Path, root: Path) -> list[str]:
    found = []
    for directory, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        relative = Path(directory).relative_to(root).as_posix()
        found += [
            f"{relative}/{name}" for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
        ]
    return sorted(found)


def _hold_out(names: list[str]) -> tuple[list[str], list[str]]:
    """The images of one class to train on and to test on. A single image is for training."""
    count = max(1, round(len(names) / HELD_OUT)) if len(names) > 1 else 0
    held = set(sorted(names, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())[:count])
    return [name for name in names if name not in held], [name for name in names if name in held]


def _few(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
