"""Entries of a checkpoint: which are weights, and which of these are wanted."""

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


# What training loops call the weights, in the order in which they are preferred where several are there.
USUAL = ("state_dict", "model", "model_state_dict", "net", "module", "network", "weights", "params", "model_state")
AVERAGE = re.compile(r"(?<![a-z])(ema|swa(?![a-z])|shadow)|averag", re.IGNORECASE)
DEPTH = 4  # of entries within entries
WHOLE = ""  # the path of weights that lie in the file as such


def is_average(name: str) -> bool:
    """Whether an entry or a prefix is of weights that were averaged over training (EMA, SWA)."""
    return AVERAGE.search(name) is not None


def entries(content: Any) -> dict[str, dict[str, Any]]:
    """The state dicts in a checkpoint: path of the entry, with slashes → name → tensor, or stand-in for one.

    The path is empty where the checkpoint is one itself.
    """
    if not isinstance(content, Mapping):
        return {}
    found = {"/".join(path): _state(value) for path, value in _walk(content, (), set())}
    # Losses, scores and averages of them are beside the weights, which are of modules, and named so.
    modules = {path: state for path, state in found.items() if _is_known(path) or any("." in name for name in state)}
    return modules or found


def choose(found: Mapping[str, dict[str, Any]], wanted: str | None, path: Path) -> dict[str, Any]:
    """The one that is wanted.

    Args:
        found: What `entries` gave.
        wanted: The name of an entry or, in state dicts that hold several networks, of a part of the names in it;
            ``ema``: whichever is averaged. None: the only one, or the usual one, never an average.
        path: Path of the file, for messages.

    Raises:
        StripeError: There is none, or several and none of them is the usual one.
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
                f"{path} holds the weights of several networks: {_list(plain)}; say which with --weights NAME"
            )
        plain = named
    chosen = plain[0]
    others = [name for name in found if name != chosen]
    if others:
        averages = [name for name in others if is_average(name)]
        hint = f"; {averages[0]} is averaged over training: --weights {averages[0]} takes it" if averages else ""
        notice(path, f"took {chosen or 'the weights outside of entries'} of {_list(found)}{hint}")
    elif chosen.rpartition("/")[2] not in (WHOLE, *USUAL):
        notice(path, f"took {chosen}, the only weights in it")
    return chosen


def _list(found: Any) -> str:
    return ", ".join(name or "those outside of entries" for name in found)


def _is_called(name: str, wanted: str) -> bool:
    """Whether an entry has a name, or lies in one that has."""
    return f"/{wanted}/" in f"/{name}/"


def _parts(state: Mapping[str, Any], wanted: str) -> dict[str, Any]:
    """Tensors of a state dict in whose names a part is called so: the others are of other networks."""
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
    """Entries that look like weights, with their paths."""
    if len(path) > DEPTH or id(content) in seen or "param_groups" in content:  # of an optimizer
        return
    seen.add(id(content))
    if _holds_weights(content, known=not path or _is_known(path[-1])):
        yield path, content
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Mapping):
            yield from _walk(value, (*path, key), seen)


def _holds_weights(content: Mapping[Any, Any], known: bool) -> bool:
    """Whether there are weights among the values themselves.

    Losses and scores are tensors without a shape, states of random number generators bytes: neither is a weight, but
    in an entry that is called as weights are.
    """
    tensors = [value for key, value in content.items() if isinstance(key, str) and _is_tensor(value)]
    if known and len(tensors) == len(content):
        return bool(tensors)
    return any(
        value.kind != ARRAY if isinstance(value, Inert) else value.is_floating_point() and value.dim() > 0
        for value in tensors
    )


def _state(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The tensors; arrays of numpy are none, but where there is nothing else."""
    found = {key: value for key, value in content.items() if isinstance(key, str) and _is_tensor(value)}
    tensors = {key: value for key, value in found.items() if not (isinstance(value, Inert) and value.kind == ARRAY)}
    return tensors or found


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, Inert) and value.kind != "")


_given: set[tuple[Path, str]] = set()


def notice(path: Path, sentence: str) -> None:
    """Say something once of all checkpoints in a folder: those of a run are alike."""
    if (path.parent, sentence) not in _given:
        _given.add((path.parent, sentence))
        logger.warning("%s: %s", path, sentence)
