"""Packages whose names are imported when they are first asked for, so that reading a setting does not cost torch."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from stripe.registry import module_of

__all__ = ["names_of"]


def names_of(package: str, **modules: tuple[str, ...]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package (PEP 562), which imports a module when one of its names is asked for.

    Args:
        package: Its ``__name__``.
        **modules: Module of the package → names in it that are names of the package, too.

    Returns:
        A function that imports the module of a name and gives the name to the package. Besides the given names, it
        knows the modules of the package, and the classes and functions of those that register something in it, so that
        a new file need not be named here.

    Example:
        >>> import stripe.tasks
        >>> stripe.tasks.Scoring.__module__
        'stripe.tasks.scoring'
    """
    homes = {name: f"{package}.{module}" for module, names in modules.items() for name in names}

    def of(name: str) -> Any:
        public = not name.startswith("_")
        if name not in homes and public and importlib.util.find_spec(f"{package}.{name}"):
            return importlib.import_module(f"{package}.{name}")
        home = homes.get(name) or (module_of(package, name) if public else None)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home), name)
        setattr(sys.modules[package], name, value)
        return value

    return of
