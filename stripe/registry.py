"""Things that register themselves by name: attention modules, data sets, tasks and kinds of plot, one file each."""

import importlib
import pkgutil
import re
from collections.abc import Iterator, MutableMapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from stripe.errors import StripeError

__all__ = ["LAST", "Registry", "module_of", "registered"]

LAST = 100
"""The place in lists of names that say none."""

_REGISTERED = re.compile(r'^@register\("([^"]+)"(?:, place=(\d+))?', re.MULTILINE)
_REGISTERS = re.compile(r"^@register\b", re.MULTILINE)

Entry = TypeVar("Entry")


class Registry(MutableMapping[str, Entry]):
    """What the files of a package register, by name, in the order of lists.

    The files of the package are imported when a name is first looked up.

    Args:
        package: Name of the package, as ``stripe.attention``.
        what: What is registered, with its article, for messages.

    Example:
        >>> known = Registry("stripe.attention", "a shape")
        >>> known.add("square", 4)
        >>> known.add("triangle", 3, place=0)
        >>> list(known)
        ['triangle', 'square']
    """

    def __init__(self, package: str, what: str) -> None:
        self._package, self._what = package, what
        self._known: dict[str, tuple[int, Entry, str]] = {}
        self._found = False

    def add(self, name: str, entry: Entry, *, place: int = LAST, source: Any = None) -> None:
        """Make something known by a name.

        Args:
            name: The name.
            entry: What has the name.
            place: Place in lists, from the lowest to the highest; names of one place are in alphabetical order.
            source: Class or function that is registered, where it is not the entry itself.

        Raises:
            StripeError: Something else has the name. A file that is imported anew registers the same thing again.
        """
        source = entry if source is None else source
        origin = f"{getattr(source, '__module__', '')}.{getattr(source, '__qualname__', source)}"
        other = self._known[name][2] if name in self._known else origin
        if other != origin:
            raise StripeError(f"there is {self._what} {name!r} already, {other}; give yours another name")
        self._known[name] = place, entry, origin

    def find(self) -> None:
        """Import every file of the package, so that what is in them is registered."""
        self._found = True  # already here, as the files may look a name up while they are imported
        try:
            for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
                importlib.import_module(f"{self._package}.{module.name}")
        except BaseException:
            self._found = False
            raise

    def __getitem__(self, name: str) -> Entry:
        return self._all()[name][1]

    def __setitem__(self, name: str, entry: Entry) -> None:
        self.add(name, entry)

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        known = self._all()
        return iter(sorted(known, key=lambda name: (known[name][0], name)))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, tuple[int, Entry, str]]:
        if not self._found:
            self.find()
        return self._known


def registered(package: str) -> list[str]:
    """The names that the files of a package register, for help texts.

    They are read from the text of the files, since importing them would import torch, which takes seconds. So a name,
    and its place in lists, stand on the line of the decorator: ``@register("se", place=0)``.

    Args:
        package: As ``stripe.attention``.

    Returns:
        In the order of their places, those of one place by name.

    Example:
        >>> registered("stripe.attention")[:3]
        ['se', 'eca', 'cbam']
    """
    found = [
        (int(place or LAST), name) for text in _texts(package).values() for name, place in _REGISTERED.findall(text)
    ]
    return [name for _, name in sorted(found)]


def module_of(package: str, name: str) -> str | None:
    """The file of a package that registers something and defines a public class or function of a name.

    Args:
        package: As ``stripe.tasks``.
        name: Name of the class or function.

    Returns:
        Name of the module, as ``stripe.tasks.classification``; None if there is none.

    Example:
        >>> module_of("stripe.tasks", "Classification")
        'stripe.tasks.classification'
    """
    defines = re.compile(rf"^(class|def) {re.escape(name)}\b", re.MULTILINE)
    found = (stem for stem, text in _texts(package).items() if _REGISTERS.search(text) and defines.search(text))
    return next((f"{package}.{stem}" for stem in found), None)


def _texts(package: str) -> dict[str, str]:
    """Name of each file of a package → its text; nothing is imported."""
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.py"))]
    return {file.stem: file.read_text(encoding="utf-8") for file in files}
