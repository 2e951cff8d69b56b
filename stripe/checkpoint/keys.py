"""Names of parameters: removal of the prefixes of wrappers, and comparison of two sets of names.

The names of a checkpoint are matched with those of a network: ``model.conv.weight`` → ``conv.weight``.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

__all__ = ["COUNTER", "Match", "matches", "plain_names", "without_wrappers"]

Value = TypeVar("Value")

# Names that only wrappers have: torch.compile, FSDP, activation checkpointing, Fabric.
UNIQUE = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}

# Name of the wrapped module, by the class of a wrapper and its package.
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
    """Remove the names of wrappers from a state dict, as far as names alone reveal them.

    ``module.`` (DataParallel) is removed only if every key begins with it, as a submodule may have this name, too.
    ``_orig_mod.`` (torch.compile) and the like are removed anywhere, as parts of a model can be wrapped. Remaining
    wrappers are found by comparison with the model.

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
    """Remove the names that only wrappers have from a key."""
    return ".".join(part for part in key.split(".") if part not in UNIQUE)


def plain_names(model: nn.Module) -> dict[str, str]:
    """Map the names of a model's tensors without wrappers to the names in its own state dict.

    Wrappers are recognised by their class, at any depth, so that a submodule with the name ``module`` keeps its name.
    Tensors that only a wrapper has (the counter of an average) are left out.
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
            elif part != wrapped:  # some wrappers remove their name themselves
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
    """One correspondence between the names of a checkpoint and those of a network.

    Attributes:
        prefix: Prefix that is removed from the checkpoint's names, with its dot; ``""`` if there is none.
        own: Real names of the network, by the names without wrappers.
        given: Names of the checkpoint that begin with the prefix, by the names that the network would use.
        outside: Other names of the checkpoint.
        fitting: Number of the network's tensors whose shape is the same in the checkpoint, without counters.
    """

    prefix: str
    own: dict[str, str]
    given: dict[str, str]
    outside: list[str]
    fitting: int


def matches(given: Shapes, own: Shapes) -> list[Match]:
    """Find the correspondences between a checkpoint and a network under which most tensors fit.

    Both sides are compared without the names that only wrappers have. If they do not fit completely, they are compared
    without any part with the name ``module``, as DataParallel can wrap a part of a network. The checkpoint may also
    lack a prefix that all of the network's names have.

    Args:
        given: Shapes of the checkpoint's tensors.
        own: Shapes of the network's tensors.

    Returns:
        The best correspondence and all equally good ones; one without a prefix comes first.
    """
    wanted = sum(not name.endswith(COUNTER) for name in own)
    found: list[Match] = []
    for dropped in (UNIQUE, UNIQUE | {"module"}):
        found += _best(given, own, _shortened(given, dropped), _shortened(own, dropped))
        if any(match.fitting == wanted for match in found):
            break
    most = max(match.fitting for match in found)
    best: dict[frozenset[tuple[str, str]], Match] = {}  # removing a.module., adding module. = removing a.
    for match in sorted(found, key=lambda match: len(match.prefix)):
        if match.fitting == most:
            best.setdefault(frozenset((name, match.given.get(name, "")) for name in match.own), match)
    # A few shapes agree by chance: a prefix is accepted only if half of one side fits.
    sound = [match for match in best.values() if not match.prefix or 2 * most >= min(wanted, len(match.given))]
    return sorted(sound or found[:1], key=lambda match: match.prefix)


def _shortened(names: Shapes, dropped: set[str]) -> dict[str, str]:
    """Map shortened names to the full ones; names stay unchanged if two would become one."""
    short = {".".join(part for part in name.split(".") if part not in dropped): name for name in names}
    return short if len(short) == len(names) else {name: name for name in names}


def _best(given: Shapes, own: Shapes, theirs: dict[str, str], ours: dict[str, str]) -> list[Match]:
    """The best matches of names that were shortened in one way; one without a prefix comes first."""
    fitting = Counter({("", ""): 0})  # prefix to remove, prefix to add
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
    """The common prefix of all names, made of whole parts and with its dot, that leaves a part of each name."""
    shared = []
    for column in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return "".join(f"{part}." for part in shared)
