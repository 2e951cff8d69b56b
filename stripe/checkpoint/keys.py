"""Names of parameters, without what wrappers put before them."""

from collections.abc import Mapping
from typing import TypeVar

from torch import nn

__all__ = ["plain_names", "without_wrappers"]

Value = TypeVar("Value")

# Wrappers whose name nobody gives to a part of a network: torch.compile, FSDP, activation checkpointing, Fabric.
UNIQUE = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}

# Class of a wrapper (with the package that it is of) → what it calls the module that it wraps.
WRAPPERS = {
    ("torch", "DataParallel"): "module",
    ("torch", "DistributedDataParallel"): "module",
    ("torch", "AveragedModel"): "module",
    ("torch", "OptimizedModule"): "_orig_mod",
    ("torch", "FullyShardedDataParallel"): "_fsdp_wrapped_module",
    ("torch", "CheckpointWrapper"): "_checkpoint_wrapped_module",
    ("torch", "OffloadWrapper"): "_checkpoint_wrapped_module",
    ("timm", "ModelEma"): "ema",
    ("timm", "ModelEmaV2"): "module",
    ("timm", "ModelEmaV3"): "module",
    ("apex", "DistributedDataParallel"): "module",
    ("deepspeed", "DeepSpeedEngine"): "module",
    ("lightning", "_FabricModule"): "_forward_module",
    ("lightning_fabric", "_FabricModule"): "_forward_module",
}


def without_wrappers(state: Mapping[str, Value]) -> dict[str, Value]:
    """A state dict without the names of wrappers, as far as names alone can say that.

    ``module.`` (DataParallel) is only taken off where every key begins with it: ``attention_module.`` and a submodule
    of that name are not meant. ``_orig_mod.`` (torch.compile) and its like may stand anywhere, since parts of a model
    can be wrapped. What is left is found when the model is there to compare with.

    Example:
        >>> without_wrappers({"module._orig_mod.fc.weight": 0})
        {'fc.weight': 0}
    """
    found = {without_unique(key): value for key, value in state.items()}
    if len(found) < len(state):  # two keys became one
        found = dict(state)
    while found and all(key.startswith("module.") for key in found):
        found = {key.removeprefix("module."): value for key, value in found.items()}
    return found


def without_unique(key: str) -> str:
    """A key without the names that only wrappers have."""
    return ".".join(part for part in key.split(".") if part not in UNIQUE)


def plain_names(model: nn.Module) -> dict[str, str]:
    """Names of a model's tensors as the network under its wrappers calls them → names in the model's own state dict.

    Wrappers are known by their class, wherever they stand, so that a submodule that is called ``module`` keeps its
    name; what only a wrapper has (the counter of an average) is left out.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    names: dict[str, str] = {}
    for key in model.state_dict():
        path, plain = "", []
        for part in key.split("."):
            module = modules.get(path)
            wrapped = None if module is None else _wrapped_name(module)
            if module is None or wrapped is None:
                plain.append(part)
            elif part in module._buffers:
                break
            elif part != wrapped:  # some take their name off themselves
                plain.append(part)
                path = f"{path}.{wrapped}".lstrip(".")
            path = f"{path}.{part}".lstrip(".")
        else:
            names[".".join(plain)] = key
    return names


def _wrapped_name(module: nn.Module) -> str | None:
    for kind in type(module).__mro__:
        name = WRAPPERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if name is not None and isinstance(getattr(module, name, None), nn.Module):
            return name
    return None
