"""The files in a folder and below it, by way of links, too; and what of them is left out."""

import logging
import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stripe.errors import StripeError

__all__ = ["LeftOut", "files_below", "is_clutter"]

logger = logging.getLogger(__name__)

CLUTTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin", "lost+found"}
"""What systems leave behind in folders, beside names that start with a dot; in small letters."""


def is_clutter(name: str) -> bool:
    """A hidden file or folder (``.DS_Store``, ``._x.jpg``), or what a system keeps for itself (``Thumbs.db``)."""
    return name.startswith(".") or name.lower() in CLUTTER


def files_below(folder: Path, root: Path) -> Iterator[str]:
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
            if is_clutter(entry.name):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else waiting).append(place / entry.name)
            elif entry.is_file() or not Path(entry.path).exists():  # neither a pipe nor a device
                yield prefix + entry.name


@dataclass
class LeftOut:
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


def _count(names: list[str], noun: str) -> str:
    return f"{len(names):,} {noun}s are" if len(names) > 1 else f"1 {noun} is"
