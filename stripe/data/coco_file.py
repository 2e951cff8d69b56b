"""Annotation files in COCO's format, as they are written."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from stripe.errors import StripeError

__all__ = ["CocoFile", "Entry", "box_of", "key_of", "positive"]


class Entry(NamedTuple):
    """An image that an annotation file lists.

    Attributes:
        key: Its id, as text.
        name: The name of its file.
        size: Its width and height; None if they are not said.
    """

    key: str
    name: str
    size: tuple[int, int] | None


class CocoFile:
    """An annotation file.

    Args:
        path: The file.

    Attributes:
        images: Entries of the images, as they are written.
        annotations: Entries of the objects, as they are written.
        categories: Name of each category by its id, in the order of the ids.
        groups: Names of categories by which others are grouped.
        digest: A hash of the file.

    Raises:
        StripeError: It cannot be read, is not in COCO's format, or has no images, annotations or categories.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = path.read_bytes()
            said = json.loads(content.decode("utf-8-sig"))
        except OSError as error:
            raise StripeError(f"{path} cannot be read: {error.strerror or error}.") from error
        except (ValueError, RecursionError) as error:
            raise StripeError(
                f"{path} is not valid JSON ({error}): it may be cut off. Download or export it again."
            ) from None
        if not isinstance(said, dict) or not all(isinstance(said.get(key), list) for key in ("images", "annotations")):
            raise StripeError(
                f"{path} is not in COCO's format: it must hold an object with the lists images, annotations and "
                "categories."
            )
        for name in ("images", "annotations"):
            if not said[name]:
                raise StripeError(f"{path} has no {name}: their list is empty.")
        self.images: list[Any] = said["images"]
        self.annotations: list[Any] = said["annotations"]
        listed = said.get("categories")
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        keys = [key_of(entry.get("id")) for entry in entries]
        if not entries or None in keys or len(set(keys)) < len(keys):
            raise StripeError(
                f"{path} does not say which classes there are: its list categories must give each an id of its own, "
                "and a name."
            )
        named = sorted(zip(keys, entries, strict=True), key=lambda pair: _order(pair[0]))
        self.categories = {str(key): str(entry.get("name") or key) for key, entry in named}
        self.groups = {str(entry.get("supercategory")) for entry in entries}
        self.digest = hashlib.sha256(content).hexdigest()[:16]

    def entry(self, said: Any) -> Entry | None:
        """An entry of the images; None if it has no id or no name of a file."""
        if not isinstance(said, dict):
            return None
        key, name = key_of(said.get("id")), said.get("file_name")
        if key is None or not isinstance(name, str) or not name or "\0" in name:
            return None
        sides = [positive(said.get(side)) for side in ("width", "height")]
        return Entry(key, name, (int(sides[0]), int(sides[1])) if all(sides) else None)

    def used(self) -> set[str]:
        """The categories that have annotations."""
        keys = {key_of(said.get("category_id")) for said in self.annotations if isinstance(said, dict)}
        return {key for key in keys if key in self.categories}


def key_of(value: Any) -> str | None:
    """An id as text, the same for 3, 3.0 and ``"3"``; None if it cannot be one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) and value != "" else None


def positive(value: Any) -> float:
    """A number above 0; 0 if it is none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 < value < 2**31 else 0.0


def box_of(value: Any) -> list[float] | None:
    """A box of four numbers; None if it is none."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    if any(not isinstance(number, int | float) or isinstance(number, bool) for number in value):
        return None
    return value if all(abs(number) < 2**31 for number in value) and math.isfinite(sum(value)) else None


def _order(key: str | None) -> tuple[int, int, str]:
    """Ids that are numbers come first, and go by their values."""
    text = str(key)
    return (0, int(text), "") if text.removeprefix("-").isdecimal() else (1, 0, text)
