"""Packages whose names are imported when they are first asked for, so that reading a setting does not cost torch."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["names_of"]


def names_of(package: str, **modules: tuple[str, ...]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package (PEP 562) whose names are those of its modules.

    Args:
        package: Its ``__name__``.
        **modules: Module of the package → names that the package has from it.

    Returns:
        A function that imports the module of a name and gives the name to the package; modules of the package are names
        of it, too.

    Example:
        >>> import stripe.tasks
        >>> stripe.tasks.Scoring.__module__
        'stripe.tasks.scoring'
    """
    homes = {name: f"{package}.{module}" for module, names in modules.items() for name in names}

    def of(name: str) -> Any:
        if name not in homes:
            if not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}"):
                return importlib.import_module(f"{package}.{name}")
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return of
