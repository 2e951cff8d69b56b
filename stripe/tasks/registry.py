"""Tasks by name: a new one is one file in this folder with a class in it that ``register`` decorates."""

from collections.abc import Mapping
from typing import Any, TypeVar

from stripe.data import Data
from stripe.errors import StripeError
from stripe.names import did_you_mean
from stripe.registry import Registry
from stripe.tasks.base import Task
from stripe.tasks.options import made

__all__ = ["named", "recorded", "register", "tasks"]

Kind = TypeVar("Kind", bound=type[Task])

_known: Registry[type[Task]] = Registry("stripe.tasks", "a task")


def register(task: Kind) -> Kind:
    """Make a task known by its name, so that commands can make it again from the settings of a run.

    Args:
        task: The class.

    Raises:
        StripeError: Another class has that name.
    """
    _known.add(task.name, task)
    return task


def tasks() -> dict[str, type[Task]]:
    """Name → class of every task that is known, in the order of lists."""
    return dict(_known)


def named(name: str, data: Data, options: Mapping[str, Any] | None = None) -> Task:
    """The task of a name, made for some data.

    Args:
        name: Name of a registered task.
        data: What it is trained or scored on.
        options: Its options that are not as by default, see ``stripe.tasks.options``.

    Raises:
        StripeError: There is no such task, it has no such options, or it needs other data.
    """
    if (known := tasks().get(name)) is None:
        raise StripeError(f"there is no task {name!r}; there are {', '.join(tasks())}{did_you_mean(name, tasks())}")
    chosen = made(known.options, options or {}, name)
    return known.of_data(data) if chosen is None else known.of_data(data, chosen)


def recorded(settings: Mapping[str, Any] | None, data: Data) -> Task:
    """The task that a run or a checkpoint records, made again for some data.

    Args:
        settings: What ``Task.settings`` gave; None is classification.
        data: What it is trained or scored on.

    Raises:
        StripeError: The settings are damaged, no task of that name is known here, or it needs other data.
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise StripeError(f"the task is {settings!r}; a table of its name and measures is wanted")
    name = "classification" if settings is None else settings.get("name")
    known = tasks().get(name) if isinstance(name, str) else None
    options = {} if settings is None else settings.get("options") or {}
    if not isinstance(options, Mapping):
        raise StripeError(f"the options of the task {name} are {options!r}; a table is wanted")
    if known is None:
        raise StripeError(
            f"the task {name!r} is none of stripe's ({', '.join(tasks())}). If it is your own, score the network from "
            "Python, with your task: stripe.training.evaluate(model, batches, data, compute, task=...)"
        )
    return named(str(name), data, options)
