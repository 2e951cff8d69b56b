"""Names of parameters, without what wrappers put before them."""

from collections.abc import Mapping
from typing import TypeVar

__all__ = ["without_wrappers"]

Value = TypeVar("Value")


def without_wrappers(state: Mapping[str, Value]) -> dict[str, Value]:
    """A state dict without the prefixes of DataParallel (``module.``) and torch.compile (``_orig_mod.``).

    ``module.`` is only taken off where every key begins with it: ``attention_module.`` and a submodule of
    that name are not meant. ``_orig_mod.`` may stand anywhere, since parts of a model can be compiled.

    Example:
        >>> without_wrappers({"module._orig_mod.fc.weight": 0})
        {'fc.weight': 0}
    """
    found = {key.replace("_orig_mod.", ""): value for key, value in state.items()}
    while found and all(key.startswith("module.") for key in found):
        found = {key.removeprefix("module."): value for key, value in found.items()}
    return found
