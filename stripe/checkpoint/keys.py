"""Names of parameters, without what wrappers put before them.

And which part of a checkpoint's names the names of a network are: ``model.conv.weight`` → ``conv.weight``.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

__all__ = ["COUNTER", "Match", "matches", "plain_names", "without_wrappers"]

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


COUNTER = "num_batches_tracked"  # of batch normalisation; old checkpoints lack it, and it changes no output
Shapes = Mapping[str, torch.Size]


@dataclass(frozen=True)
class Match:
    """One way to read a checkpoint's names.

    Attributes:
        prefix: Taken off the checkpoint's names, with its dot; "" where nothing is.
        own: The network's names without wrappers → its real ones.
        given: Names as the network would call them → the checkpoint's, for those that begin with the prefix.
        outside: The checkpoint's other names.
        fitting: How many of the network's tensors are there in their shape, counters aside.
    """

    prefix: str
    own: dict[str, str]
    given: dict[str, str]
    outside: list[str]
    fitting: int


def matches(given: Shapes, own: Shapes) -> list[Match]:
    """The ways in which a checkpoint's names can be a network's: those under which most tensors fit.

    Both sides are compared without the names that only wrappers have; then, where that does not fit as a whole, without
    any part that is called ``module``, since DataParallel can wrap a part of a network. A prefix may be missing in the
    checkpoint, too, where all of the network's names begin with it.

    Args:
        given: Shapes in the checkpoint.
        own: Shapes in the network.

    Returns:
        At least one, and equally good ones; the one without a prefix first, where it is among them.
    """
    wanted = sum(not name.endswith(COUNTER) for name in own)
    found: list[Match] = []
    for dropped in (UNIQUE, UNIQUE | {"module"}):
        found += _best(given, own, _shortened(given, dropped), _shortened(own, dropped))
        if any(match.fitting == wanted for match in found):
            break
    most = max(match.fitting for match in found)
    best: dict[frozenset[tuple[str, str]], Match] = {}  # a.module. taken off and module. put on is a. taken off
    for match in sorted(found, key=lambda match: len(match.prefix)):
        if match.fitting == most:
            best.setdefault(frozenset((name, match.given.get(name, "")) for name in match.own), match)
    # A few shapes agree by chance; only where half of one side fits, a prefix explains the names.
    sound = [match for match in best.values() if not match.prefix or 2 * most >= min(wanted, len(match.given))]
    return sorted(sound or found[:1], key=lambda match: match.prefix)


def _shortened(names: Shapes, dropped: set[str]) -> dict[str, str]:
    """Shorter name → name; unchanged where two would be one."""
    short = {".".join(part for part in name.split(".") if part not in dropped): name for name in names}
    return short if len(short) == len(names) else {name: name for name in names}


def _best(given: Shapes, own: Shapes, theirs: dict[str, str], ours: dict[str, str]) -> list[Match]:
    """As `matches`, of names that were shortened in one way; first what is there without a prefix."""
    fitting = Counter({("", ""): 0})  # what is taken off, what is put before the rest
    for added in {"", _common(list(ours))}:
        shapes = {name.removeprefix(added): own[full] for name, full in ours.items() if not name.endswith(COUNTER)}
        for name, full in theirs.items():
            start = 0
            while start >= 0:
                if shapes.get(name[start:]) == given[full]:
                    fitting[name[:start], added] += 1
                start = name.find(".", start) + 1 or -1
    most = max(fitting.values())
    return [
        Match(
            prefix,
            ours,
            {added + name.removeprefix(prefix): full for name, full in theirs.items() if name.startswith(prefix)},
            [full for name, full in theirs.items() if not name.startswith(prefix)],
            count,
        )
        for (prefix, added), count in fitting.items()
        if count == most or not (prefix or added)
    ]


def _common(names: list[str]) -> str:
    """The prefix of whole parts that all names have, with its dot, and that leaves something of each."""
    shared = []
    for column in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return "".join(f"{part}." for part in shared)
