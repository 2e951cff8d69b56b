"""The images in class folders: which there are, which of them are to train on, which to test on."""

import hashlib
import logging
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stripe.data.files import is_image_name
from stripe.errors import StripeError

__all__ = ["Files", "Found", "find_images"]

logger = logging.getLogger(__name__)

HELD_OUT = 5
"""One image in so many is for testing, where the folder has no split of its own."""

TRAINING = ("train", "training")
TESTING = ("test", "testing", "val", "valid", "validation")
"""Names of the halves of a data set, in any capitalisation; of several for testing the first is taken."""

Files = list[list[str]]
"""For each class its files, relative to the data set's folder; one list of all files where there are no classes."""


CLUTTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin", "lost+found"}
"""What systems leave behind in folders, beside names that start with a dot; in small letters."""


@dataclass(frozen=True)
class Found:
    """The images in a folder.

    Attributes:
        classes: In the order of their names; empty where the images have none.
        train: The files to train on.
        test: The files to test on.
        halves: The folder has a split of its own, ``train`` and ``test`` are not made from one set of files.
    """

    classes: tuple[str, ...]
    train: Files
    test: Files
    halves: bool

    @property
    def labelled(self) -> bool:
        """There are classes."""
        return bool(self.classes)


@dataclass
class _LeftOut:
    """What of a data set's folder is not used.

    Attributes:
        root: The folder.
        files: Files among the images that are no images by their names, relative to it.
        beside: Images that lie beside class folders.
        folders: Folders beside the two halves.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def tell(self) -> None:
        """Log it, a line for each kind."""
        if self.files:
            kinds = Counter(Path(name).suffix.lower() or "without a suffix" for name in self.files).most_common()
            listed = ", ".join(f"{count} {kind}" for kind, count in kinds[:4]) + (" …" if len(kinds) > 4 else "")
            counted = _count(self.files, "file")
            self._warn(
                f"{counted} left out, by their names no images that Pillow opens ({listed}), such as", self.files
            )
        if self.beside:
            self._warn(f"{_count(self.beside, 'image')} left out, beside the class folders, such as", self.beside)
        if self.folders:
            self._warn("left out are the folders", [", ".join(self.folders)])

    def _warn(self, what: str, names: list[str]) -> None:
        # Names need not be UTF-8, which not every log can take.
        said = f"{self.root}: {what} {names[0]}".encode(errors="backslashreplace").decode()
        logger.warning("%s", said)


def find_images(path: Path) -> Found:
    """Look for ``train/`` and ``test|val/`` of class folders, for class folders alone, or for images without classes.

    Those are without classes that lie in no class folder, or in the only one. What is left out is logged.

    Args:
        path: The data set's folder.

    Raises:
        StripeError: No images, a class without images, one image per class, ``train`` without ``test``, or both of
            different classes.
    """
    left_out = _LeftOut(path)
    found = _halves(path, left_out) or _one_set(path, left_out)
    left_out.tell()
    return found


def _halves(root: Path, left_out: _LeftOut) -> Found | None:
    """The split that the folder has of its own, None where it has none."""
    folders = _subfolders(root)
    training, testing = (_named(folders, names) for names in (TRAINING, TESTING))
    # Folders of classes may be called like that, too: ``Train`` beside ``Car``.
    if not training or not (testing or _subfolders(root / training[0])):
        return None
    train = root / training[0]
    labelled = len(_subfolders(train)) > 1
    tests = [root / name for name in testing if len(_subfolders(root / name)) > 1 or not labelled]
    if not tests:
        single = " (it has images, but no classes)" if testing else ""
        raise StripeError(
            f"{root} has {train.name}/ but no class folders in test/ or val/{single}. Add them, or give "
            f"folder:{train}: then one image in {HELD_OUT} is held out for testing."
        )
    left_out.folders += [name for name in folders if name not in (train.name, tests[0].name)]
    (classes, files), (test_classes, test_files) = (_scan(folder, root, left_out) for folder in (train, tests[0]))
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))
        raise StripeError(
            f"{train} and {tests[0]} have different classes: {_few(odd)} "
            f"{'is' if len(odd) == 1 else 'are'} in one of them only."
        )
    return Found(classes, files, test_files, halves=True)


def _one_set(root: Path, left_out: _LeftOut) -> Found:
    classes, files = _scan(root, root, left_out)
    halves = [_hold_out(names) for names in files]
    test = [held for _, held in halves]
    if not any(test) and not classes:
        return Found((), files, files, halves=False)  # a single image, which can be looked at, if not trained on
    if not any(test):
        raise StripeError(f"Every class in {root} has a single image: none is left to test on.")
    return Found(classes, [kept for kept, _ in halves], test, halves=False)


def _scan(folder: Path, root: Path, left_out: _LeftOut) -> tuple[tuple[str, ...], Files]:
    """The class folders in ``folder``, in the order of their names, and the images in each."""
    classes = _subfolders(folder)
    files = [_image_files(folder / name, root, left_out) for name in classes] if len(classes) > 1 else []
    if not any(files):
        files = [_image_files(folder, root, left_out)]
        if not files[0]:
            raise StripeError(
                f"No images were found in {folder}: looked for .jpg, .png, .tif and all else that Pillow opens."
            )
        return (), files
    empty = [name for name, names in zip(classes, files, strict=True) if not names]
    if empty:
        raise StripeError(f"Class folders without images in {folder}: {_few(empty)} (looked for .jpg, .png, .tif …).")
    left_out.beside += sorted(
        (folder / entry.name).relative_to(root).as_posix()
        for entry in os.scandir(folder)
        if entry.is_file() and is_image_name(entry.name) and not _is_clutter(entry.name)
    )
    return tuple(classes), files


def _subfolders(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not _is_clutter(entry.name))
    except OSError as error:
        raise StripeError(f"{folder} cannot be listed: {error.strerror or error}.") from error


def _named(folders: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those folders that are called so, in the order of ``names``; of equal ones in small letters first."""
    found = [name for name in folders if name.lower() in names]
    return sorted(found, key=lambda name: (names.index(name.lower()), name.swapcase()))


def _image_files(folder: Path, root: Path, left_out: _LeftOut) -> list[str]:
    found = []
    for name in _files_below(folder, root):
        if is_image_name(name):
            found.append(name)
        else:
            left_out.files.append(name)
    return sorted(found)


def _hold_out(names: list[str]) -> tuple[list[str], list[str]]:
    """The images of one class, or without classes, to train on and to test on. A single image is for training."""
    count = max(1, round(len(names) / HELD_OUT)) if len(names) > 1 else 0
    held = set(sorted(names, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())[:count])
    return [name for name in names if name not in held], [name for name in names if name in held]


def _few(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _is_clutter(name: str) -> bool:
    """A hidden file or folder (``.DS_Store``, ``._x.jpg``), or what a system keeps for itself (``Thumbs.db``)."""
    return name.startswith(".") or name.lower() in CLUTTER


def _files_below(folder: Path, root: Path) -> Iterator[str]:
    """All files in a folder and in those below it, clutter excepted, relative to ``root``, with slashes.

    Links are followed. No folder is walked twice, and a link to a folder that encloses ``folder`` or ``root`` is not
    followed at all. A link that leads nowhere is a file: whoever reads it will say so.

    Raises:
        StripeError: A folder cannot be listed.
    """
    walked = {os.path.realpath(parent) for place in (folder, root) for parent in Path(os.path.realpath(place)).parents}
    if folder != root:
        walked.add(os.path.realpath(root))
        walked.add(os.path.realpath(folder.parent))
    # Links wait until all else is walked: what lies in the folder itself keeps its own name.
    waiting, links = deque([folder]), deque[Path]()
    while waiting or links:
        place = waiting.popleft() if waiting else links.popleft()
        real = os.path.realpath(place)
        if real in walked:
            continue
        walked.add(real)
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            raise StripeError(f"{place} cannot be listed: {error.strerror or error}.") from error
        relative = place.relative_to(root).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        for entry in entries:
            if _is_clutter(entry.name):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else waiting).append(place / entry.name)
            elif entry.is_file() or not Path(entry.path).exists():  # neither a pipe nor a device
                yield prefix + entry.name


def _count(names: list[str], noun: str) -> str:
    return f"{len(names):,} {noun}s are" if len(names) > 1 else f"1 {noun} is"
