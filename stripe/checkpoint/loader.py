"""Loading of a checkpoint's weights into a model, with an explanation if they do not fit."""

import logging

import torch
from torch import Tensor, nn

from stripe.checkpoint.entries import is_average, notice
from stripe.checkpoint.keys import COUNTER, Match, matches, plain_names
from stripe.checkpoint.reader import Checkpoint
from stripe.errors import StripeError

__all__ = ["load_into"]

logger = logging.getLogger(__name__)

SHOWN = 3  # number of names of each sort in a message


def load_into(model: nn.Module, checkpoint: Checkpoint, *, partial: bool = False) -> list[str]:
    """Copy a checkpoint's tensors into a model, whatever wrappers either of them has.

    If the checkpoint's names are the model's with a prefix (Lightning's ``model.``, DataParallel's ``module.``, a
    ``backbone.``), the prefix is removed; if all of the model's names have a prefix that the checkpoint lacks, it is
    added. A log message tells the removed prefix and the tensors of the checkpoint that were not used.

    Args:
        model: The network. It is changed in place; if an error is raised, it is not changed.
        checkpoint: Checkpoint from ``read``.
        partial: Whether tensors that do not fit are skipped.

    Returns:
        The skipped tensors, each as ``name (reason)``; empty unless ``partial`` is True.

    Raises:
        StripeError: Names, shapes or types do not fit; several networks in the checkpoint fit; or, with ``partial``, no
            parameter fits.
    """
    full_state = model.state_dict()
    actual = {name: full for name, full in plain_names(model).items() if isinstance(full_state[full], Tensor)}
    own = {name: full_state[full] for name, full in actual.items()}
    state = checkpoint.state_dict
    match = _match(
        checkpoint,
        matches(
            {name: value.shape for name, value in state.items()}, {name: value.shape for name, value in own.items()}
        ),
        partial,
    )
    wanted = {name: own[full] for name, full in match.own.items()}
    given = {name: state[full] for name, full in match.given.items()}

    fitting = [name for name in wanted if name in given and _fits(given[name], wanted[name])]
    tied = {_place(wanted[name]) for name in fitting}
    problems = {
        "missing in the file": [
            name
            for name, value in wanted.items()
            if name not in given and not name.endswith(COUNTER) and _place(value) not in tied
        ],
        "unknown to the model": [name for name in given if name not in wanted and not name.endswith(COUNTER)],
        "of another shape": [
            f"{name}: {_size(given[name])} in the file, {_size(value)} in the model"
            for name, value in wanted.items()
            if name in given and given[name].shape != value.shape
        ],
        "of another type": [
            f"{name}: {_type(given[name])} in the file, {_type(value)} in the model"
            for name, value in wanted.items()
            if name in given and name not in fitting and given[name].shape == value.shape
        ],
    }
    taken = f"without the prefix {match.prefix!r} of its names, " if match.prefix else ""
    if not partial and any(problems.values()):
        sentences = [f"{len(names)} {what} ({_few(names)})" for what, names in problems.items() if names]
        raise StripeError(
            f"{checkpoint.path} does not fit the model: {taken}{'; '.join(sentences)}. "
            "Check model=, attention= and num_classes=, or load what fits with partial=True"
        )
    if all(name.endswith(COUNTER) for name in fitting):
        raise StripeError(
            f"{checkpoint.path} has nothing in common with the model: it holds {_few(list(given))}, "
            f"the model has {_few(list(wanted))}. Check model="
        )
    try:
        model.load_state_dict({actual[match.own[name]]: given[name] for name in fitting}, strict=False)
    except RuntimeError as error:  # a module that loads its tensors in its own way
        raise StripeError(
            f"{checkpoint.path} cannot be loaded into the model: {' '.join(str(error).split())}"
        ) from error
    if match.prefix or match.outside:
        left = f"; left out {len(match.outside)} without it ({_few(match.outside)})" if match.outside else ""
        notice(checkpoint.path, f"took {match.prefix!r} off the names{left}")
    skipped = [f"{name} ({what})" for what, names in problems.items() for name in names]
    if skipped:
        logger.warning("%s: skipped %s", checkpoint.path, _few(skipped))
    return skipped


def _match(checkpoint: Checkpoint, found: list[Match], partial: bool) -> Match:
    """The match to use; raises if several networks in the checkpoint fit equally well."""
    plain = [match for match in found if not is_average(match.prefix)] or found
    if len(plain) == 1 or (not partial and not _is_whole(plain[0])) or (partial and not plain[0].prefix):
        averages = [match.prefix for match in found if is_average(match.prefix) and match is not plain[0]]
        if averages:
            notice(checkpoint.path, f"{averages[0]!r} are weights averaged over training; weights='ema' takes them")
        return plain[0]
    names = ", ".join(repr(match.prefix) for match in plain)
    other = set(plain[0].prefix.split("."))
    telling = [part for part in plain[-1].prefix.split(".") if part not in other]
    raise StripeError(
        f"{checkpoint.path} holds several networks that fit the model equally well, with the prefixes {names}; choose "
        f"with weights={telling[0] if telling else plain[-1].prefix!r}"
    )


def _is_whole(match: Match) -> bool:
    return match.fitting == sum(not name.endswith(COUNTER) for name in match.own)


def _fits(given: Tensor, wanted: Tensor) -> bool:
    """Whether a tensor can be copied without a change of its numbers; quantised codes are not weights."""
    if given.shape != wanted.shape:
        return False
    if given.is_complex() or wanted.is_complex():
        return given.is_complex() == wanted.is_complex()
    return given.dim() == 0 or given.is_floating_point() or not wanted.is_floating_point()


def _place(tensor: Tensor) -> tuple[object, ...]:
    """A key that is equal for tied tensors, but different for tensors on the meta device, which have no address."""
    if tensor.device.type == "meta" or not tensor.numel():
        return (id(tensor),)
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _few(entries: list[str]) -> str:
    rest = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return ", ".join(entry if entry.isprintable() else ascii(entry) for entry in entries[:SHOWN]) + rest


def _size(tensor: Tensor) -> str:
    return "×".join(str(side) for side in tensor.shape) or "a scalar"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix(f"{torch.__name__}.")
