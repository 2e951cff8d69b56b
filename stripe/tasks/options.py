"""Options of the tasks: what a run may say of its task beyond the name; read from a command line, they need no torch.

The options of a task are a frozen dataclass under ``@options_of(NAME)``. Its fields have the types, defaults and
metadata (``help``, ``range``, ``metavar``) of those of ``stripe.training.RunConfig``, so that ``stripe train`` makes
flags of them, and recipes and Python give them as ``task_args``.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar, get_origin, get_type_hints

from stripe.errors import StripeError
from stripe.models.spec import fits, in_words, out_of_range
from stripe.names import did_you_mean

__all__ = ["OPTIONS", "made", "options_of", "unusual"]

Options = TypeVar("Options", bound=type)

OPTIONS: dict[str, type] = {}
"""Name of a task → the dataclass of its options; a task that has none is not in here."""


def options_of(task: str) -> Callable[[Options], Options]:
    """Decorate the dataclass of a task's options.

    Args:
        task: Name of the task.
    """

    def note(options: Options) -> Options:
        OPTIONS[task] = options
        return options

    return note


def made(kind: type | None, values: Mapping[str, Any], task: str) -> Any:
    """The options of a task from their values.

    Args:
        kind: The dataclass; None: the task has no options.
        values: Name of a field → value, as JSON, TOML or Python give it. The others have their defaults.
        task: Name of the task, for the message.

    Returns:
        An object of ``kind``, or None.

    Raises:
        StripeError: The task has no such option, or a value is not of its type or range.
    """
    known = {entry.name for entry in fields(kind)} if kind else set()
    if strange := sorted(set(values) - known):
        has = f"it has {', '.join(sorted(known))}" if known else "it has none"
        close = did_you_mean(strange[0], known)
        raise StripeError(f"the task {task} has no option {strange[0]!r}; {has}{close}")
    if kind is None:
        return None
    kinds = get_type_hints(kind)
    for name, value in values.items():
        if not fits(value, kinds[name]):
            raise StripeError(f"{name} is {value!r}; it must be {in_words(kinds[name])}")
    listed = {name: tuple(value) if get_origin(kinds[name]) is tuple else value for name, value in values.items()}
    options = kind(**listed)
    for name, numbers in out_of_range(options).items():
        raise StripeError(f"{name} is {getattr(options, name)}; it must be {in_words(kinds[name])}, {numbers}")
    return options


def unusual(options: Any) -> dict[str, Any]:
    """Those of a task's options that are not as by default.

    Args:
        options: An object of its dataclass; None where a task has no options.
    """
    if options is None:
        return {}
    usual = asdict(type(options)())
    return {name: value for name, value in asdict(options).items() if value != usual[name]}
