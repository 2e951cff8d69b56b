"""What the user is to know about a checkpoint that was read."""

import logging
from pathlib import Path

__all__ = ["notice"]

logger = logging.getLogger(__name__)

_given: set[tuple[Path, str]] = set()


def notice(path: Path, sentence: str) -> None:
    """Say something once of all checkpoints in a folder: those of a run are alike."""
    if (path.parent, sentence) not in _given:
        _given.add((path.parent, sentence))
        logger.warning("%s: %s", path, sentence)
