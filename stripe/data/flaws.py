"""What is wrong with annotations, counted by kind, to be said in one line."""

import logging
from collections import Counter
from pathlib import Path

__all__ = ["Flaws"]

logger = logging.getLogger(__name__)


class Flaws:
    """Faults of a set of annotations: how many of each kind, and an example of it.

    Example:
        >>> flaws = Flaws()
        >>> flaws.add("{} box(es) of no area", "annotation 7")
        >>> flaws.add("{} box(es) of no area", "annotation 9")
        >>> str(flaws)
        '2 boxes of no area (annotation 7)'
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, kind: str, example: object, count: int = 1) -> None:
        """Count a fault.

        Args:
            kind: What is wrong, with ``{}`` for how many there are, and ``(s)`` or ``(es)`` where the plural has them.
            example: Which one it is; the first is named.
            count: How many there are.
        """
        if count:
            self._counts[kind] += count
            self._examples.setdefault(kind, str(example))

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __str__(self) -> str:
        parts = []
        for kind, count in self._counts.items():
            said = kind.format(f"{count:,}")
            for ending in ("s", "es"):
                said = said.replace(f"({ending})", "" if count == 1 else ending)
            parts.append(f"{said} ({self._examples[kind]})")
        return ", ".join(parts)

    def tell(self, source: Path) -> None:
        """Log a warning, if there are any.

        Args:
            source: The file or folder that the annotations are from.
        """
        if self:
            # Names need not be UTF-8, which not every log can take.
            said = f"{source}: left out or changed are {self}".encode(errors="backslashreplace").decode()
            logger.warning("%s", said)
