"""Settings of runs, as a recipe says them in its tables of TOML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stripe.data import parse_size
from stripe.errors import StripeError
from stripe.names import did_you_mean
from stripe.reproduce.scale import Scale
from stripe.reproduce.toml import check, types_of
from stripe.training import Recipe as Training
from stripe.training.config import RunConfig

__all__ = ["GIVES", "OF_TRAINING", "Before", "at_scale", "merged", "read_settings"]

GIVES: dict[str, tuple[str, ...]] = {
    "attention": ("model", "data", "image_size", "attention", "args"),
    "backbone_ckpt": ("attention", "mode", "where", "copies", "psi", "psi_fixed", "asr_start", "noise"),
    "perceptual_ckpt": (),
}
"""What a run can take from one that is trained before it, with the settings that the two have in common."""

OF_TRAINING: dict[str, Any] = {
    **{name: kind for name, kind in types_of(Training).items() if name not in ("groups", "full_epochs")},
    **dict.fromkeys(("schedule", "algorithm"), str),  # which are checked where they are used
}
"""Settings of a run's training that a recipe may have, see ``stripe.training.Recipe``."""

OF_SCALE: dict[str, Any] = {
    name: kind for name, kind in types_of(Scale).items() if name not in ("name", "models", "data")
}
"""What a recipe may change of a scale."""

_OF_NO_RECIPE = {"recipe", "seed", "precision", *OF_SCALE}
"""Settings of a run that the scale or the user decides."""

SETTINGS: dict[str, Any] = {
    **{name: kind for name, kind in types_of(RunConfig).items() if name not in _OF_NO_RECIPE},
    **OF_TRAINING,
    "image_size": int | str,  # 32, or "48x192" for height and width
    "before": dict | bool,
}
"""Type of each setting that a recipe may have, see ``stripe.training.RunConfig``."""


@dataclass(frozen=True)
class Before:
    """A run that is trained before the runs of a row, which take something from it.

    Attributes:
        gives: What they take, a key of ``GIVES``: the attention that a structure search has found, or a checkpoint with
            the first weights of a backbone, or of the network by whose features pictures are compared.
        settings: Settings of the run, besides those that it has in common with the runs that follow.
        quick: Settings at the quick scale; they override all others.
        scales: Name of a scale → what is changed of it for this run.
    """

    gives: str
    settings: Mapping[str, Any]
    quick: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of several tables; later ones override, and arguments of model and task are added up."""
    found: dict[str, Any] = {}
    for table in tables:
        added = {key: {**found.get(key, {}), **table[key]} for key in ("args", "task_args") if key in table}
        found |= {**table, **added}
    return found


def read_settings(
    table: Mapping[str, Any], path: Path, where: str, besides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Check a table, and return the settings of runs in it.

    Args:
        table: The table.
        path: The file, for the message.
        where: The table's place in the file, for the message.
        besides: Types of the keys that a row or column has besides settings, its name among them.

    Raises:
        StripeError: Something is wrong with the table.
    """
    check(table, {**SETTINGS, **(besides or {})}, path, where, required=("name",) if besides else ())
    settings = {key: value for key, value in table.items() if key in SETTINGS}
    if "image_size" in settings:
        try:
            settings["image_size"] = parse_size(settings["image_size"])
        except StripeError as error:
            raise StripeError(f"{path}: {where}: image_size: {error}") from None
    if "before" in settings:
        settings["before"] = _before(settings["before"], path, f"{where}, before")
    return settings


def at_scale(table: Mapping[str, Any], path: Path, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of runs in a table for a scale, and what it changes of the scale.

    Args:
        table: The table.
        path: The file, for the message.
        where: The table's place in the file, for the message.

    Raises:
        StripeError: Something is wrong with the table.
    """
    changed = {key: value for key, value in table.items() if key in OF_SCALE}
    check(changed, OF_SCALE, path, where)
    return read_settings({key: value for key, value in table.items() if key not in changed}, path, where), changed


def _before(table: Any, path: Path, where: str) -> Before | None:
    if table is False:
        return None
    if table is True:
        raise StripeError(f"{path}: {where}: say which run is trained before, in a table; false is for none.")
    check(table, {**SETTINGS, "gives": str, "quick": dict}, path, where, required=("gives",))
    gives = table["gives"]
    if gives not in GIVES:
        raise StripeError(f"{path}: {where}: gives = {gives!r}; there are {', '.join(GIVES)}{_hint(gives)}")
    quick, changed = at_scale(table.get("quick", {}), path, f"{where}, quick")
    own = {key: value for key, value in table.items() if key not in ("gives", "quick")}
    return Before(gives, read_settings(own, path, where), quick, {"quick": changed})


def _hint(name: str) -> str:
    return did_you_mean(name, GIVES) or "."
