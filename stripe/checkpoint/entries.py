"""Entries of a checkpoint: detection of those that hold weights, and choice of one."""

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from stripe.checkpoint.inert import ARRAY, Inert
from stripe.errors import StripeError

__all__ = ["USUAL", "choose", "entries", "is_average", "notice"]

logger = logging.getLogger(__name__)


# Names that training loops give to the weights, in the order of preference.
USUAL = ("state_dict", "model", "model_state_dict", "net", "module", "network", "weights", "params", "model_state")
AVERAGE = re.compile(r"(?<![a-z])(ema|swa(?![a-z])|shadow)|averag", re.IGNORECASE)
DEPTH = 4  # levels of nested entries
WHOLE = ""  # path of weights that are not in an entry


def is_average(name: str) -> bool:
    """Whether the name of an entry or a prefix stands for weights averaged over training (EMA, SWA)."""
    return AVERAGE.search(name) is not None


def entries(content: Any) -> dict[str, dict[str, Any]]:
    """Find the state dicts in a checkpoint.

    Returns:
        A dictionary from the path of each entry, with slashes, to its state dict: names and tensors, or stand-ins for
        tensors. The path is empty if the checkpoint itself is a state dict.
    """
    if not isinstance(content, Mapping):
        return {}
    found = {"/".join(path): _state(value) for path, value in _walk(content, (), set())}
    # Losses, scores and their averages may lie beside the weights, which have the names of modules.
    modules = {path: state for path, state in found.items() if _is_known(path) or any("." in name for name in state)}
    return modules or found


def choose(found: Mapping[str, dict[str, Any]], wanted: str | None, path: Path) -> dict[str, Any]:
    """Choose one of the state dicts in a checkpoint.

    Args:
        found: State dicts from ``entries``.
        wanted: Name of an entry; or, in a state dict of several networks, of a part of the names in it; or ``ema`` for
            averaged weights. None stands for the only entry, or the one with a usual name, but never for an average.
        path: Path of the file, for messages.

    Raises:
        StripeError: There is no such entry, or there are several without a usual name.
    """
    if wanted is None:
        return found[_usual(found, path)]
    matching = [name for name in found if _is_called(name, wanted)]
    if wanted == "ema" and not matching:
        matching = [name for name in found if is_average(name)]
    if len(matching) > 1:
        matching = [name for name in matching if name == wanted] or matching
    if len(matching) == 1:
        return found[matching[0]]
    if matching:
        raise StripeError(f"{path}: several of its entries are {wanted!r}: {', '.join(matching)}; name one of these")
    for state in found.values():
        parts = _parts(state, wanted)
        if parts:
            return parts
    raise StripeError(f"{path} holds no weights called {wanted!r}; its weights are {_list(found)}")


def _usual(found: Mapping[str, dict[str, Any]], path: Path) -> str:
    plain = [name for name in found if not is_average(name)] or list(found)
    plain.sort(key=lambda name: name.count("/"))
    if len(plain) > 1:
        ranked = [name for usual in USUAL for name in plain if name.rpartition("/")[2] == usual]
        named = [name for name in plain if name == WHOLE] or ranked
        if not named:
            raise StripeError(
                f"{path} holds the weights of several networks: {_list(plain)}; choose with weights={plain[0]!r}"
            )
        plain = named
    chosen = plain[0]
    others = [name for name in found if name != chosen]
    if others:
        averages = [name for name in others if is_average(name)]
        hint = f"; {averages[0]} is averaged over training: weights={averages[0]!r} takes it" if averages else ""
        notice(path, f"took {chosen or 'the weights outside of entries'} of {_list(found)}{hint}")
    elif chosen.rpartition("/")[2] not in (WHOLE, *USUAL):
        notice(path, f"took {chosen}, the only weights in it")
    return chosen


def _list(found: Any) -> str:
    return ", ".join(name or "those outside of entries" for name in found)


def _is_called(name: str, wanted: str) -> bool:
    """Whether an entry, or an entry around it, has the given name."""
    return f"/{wanted}/" in f"/{name}/"


def _parts(state: Mapping[str, Any], wanted: str) -> dict[str, Any]:
    """The tensors of a state dict whose names contain the given part; the others belong to other networks."""
    dotted = wanted.strip(".")
    found = {name: value for name, value in state.items() if f".{dotted}." in f".{name}"}
    if not found and wanted == "ema":
        found = {name: value for name, value in state.items() if any(is_average(part) for part in name.split("."))}
    return found


def _is_known(path: str) -> bool:
    return path.rpartition("/")[2] in USUAL or is_average(path)


def _walk(
    content: Mapping[Any, Any], path: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield the entries that look like weights, with their paths."""
    if len(path) > DEPTH or id(content) in seen or "param_groups" in content:  # an optimiser's state
        return
    seen.add(id(content))
    if _holds_weights(content, known=not path or _is_known(path[-1])):
        yield path, content
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Mapping):
            yield from _walk(value, (*path, key), seen)


def _holds_weights(content: Mapping[Any, Any], known: bool) -> bool:
    """Whether there are weights among the values of a dictionary.

    Losses and scores are tensors without axes, and states of random number generators are bytes. Both count as weights
    only in an entry that has a usual name of weights.
    """
    tensors = [value for key, value in content.items() if isinstance(key, str) and _is_tensor(value)]
    if known and len(tensors) == len(content):
        return bool(tensors)
    return any(
        value.kind != ARRAY if isinstance(value, Inert) else value.is_floating_point() and value.dim() > 0
        for value in tensors
    )


def _state(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The tensors of a dictionary; NumPy arrays count as tensors only if there is nothing else."""
    found = {key: value for key, value in content.items() if isinstance(key, str) and _is_tensor(value)}
    tensors = {key: value for key, value in found.items() if not (isinstance(value, Inert) and value.kind == ARRAY)}
    return tensors or found


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, Inert) and value.kind != "")


_given: set[tuple[Path, str]] = set()


def notice(path: Path, sentence: str) -> None:
    """Log a sentence once for all checkpoints in a folder, as those of a run are alike."""
    if (path.parent, sentence) not in _given:
        _given.add((path.parent, sentence))
        logger.warning("%s: %s", path, sentence)
