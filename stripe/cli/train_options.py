"""The options of ``stripe train`` that no other command has, in groups."""

from collections.abc import Callable
from dataclasses import fields
from functools import reduce
from typing import Any, TypeVar

import click

from stripe.cli.options import option_of, precision_option
from stripe.errors import StripeError
from stripe.tasks.options import OPTIONS
from stripe.training import Recipe, RunConfig

__all__ = [
    "TaskCommand",
    "asr_options",
    "effort_options",
    "recipe_options",
    "schedule_in_words",
    "task_args_of",
    "task_options",
]

Command = TypeVar("Command", bound=Callable[..., Any])

LIST = "?"
"""What ``--recipe`` without a name stands for."""


class Psi(click.ParamType[float | str]):
    """ψ: a number, or text as ``C0.1`` and ``N0.3``."""

    name = "VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """A number where it is one."""
        try:
            return float(value)
        except ValueError:
            return str(value)


class Pair(click.ParamType[tuple[float, float]]):
    """Two numbers with a comma between them."""

    name = "NA,NB"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Parse ``0.8,0.5``."""
        if isinstance(value, tuple):
            return value
        try:
            first, second = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not two numbers with a comma between them, as 0.8,0.5", param, ctx)
        return first, second


def schedule_in_words(recipe: Recipe) -> str:
    """As ``×0.1 at 81/122``."""
    if recipe.schedule == "cosine":
        return "cosine"
    return f"×{recipe.gamma:g} at {'/'.join(map(str, recipe.milestones))}"


def _list_recipes(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Print the recipes where no name was given, and leave."""
    if value == LIST:
        _print_recipes()
        ctx.exit()
    return value


def _print_recipes() -> None:
    from stripe.cli.tables import print_records
    from stripe.training import RECIPES

    rows = [
        {
            "recipe": name,
            "for": row.columns,
            "table": str(row.table or "–"),
            "epochs": str(row.recipe.epochs),
            "batch": str(row.recipe.batch_size),
            "optimiser": row.recipe.algorithm,
            "lr": f"{row.recipe.lr:g}",
            "schedule": schedule_in_words(row.recipe),
            "weight_decay": f"{row.recipe.weight_decay:g}",
        }
        for name, row in RECIPES.items()
    ]
    print_records(rows, "table", title="Recipes")


def recipe_options(function: Command) -> Command:
    """``--recipe`` and what overrides it."""
    return _all(
        function,
        click.option(
            "--recipe",
            "recipe_name",
            metavar="[NAME]",
            is_flag=False,
            flag_value=LIST,
            is_eager=True,
            callback=_list_recipes,
            help="A recipe of the paper's tables 10 and 11, printed; without NAME: list them. Default: the model's.",
        ),
        option_of(Recipe, "epochs", absent="the recipe's"),
        option_of(Recipe, "batch_size", absent="the recipe's"),
        option_of(Recipe, "lr", absent="the recipe's"),
        option_of(Recipe, "weight_decay", absent="the recipe's"),
        option_of(Recipe, "schedule", absent="the recipe's"),
        option_of(Recipe, "label_smoothing", absent="the recipe's"),
        option_of(RunConfig, "images_per_epoch"),
        option_of(RunConfig, "ema"),
    )


def asr_options(function: Command) -> Command:
    """What becomes of κ, and noise."""
    return _all(
        function,
        option_of(RunConfig, "mode"),
        option_of(RunConfig, "where"),
        option_of(RunConfig, "copies"),
        option_of(RunConfig, "psi", type=Psi()),
        option_of(RunConfig, "psi_fixed"),
        option_of(RunConfig, "asr_start"),
        option_of(RunConfig, "noise", type=Pair(), show_default=False),
        option_of(RunConfig, "noise_random"),
    )


def effort_options(function: Command) -> Command:
    """How the machine is used."""
    return _all(
        function,
        option_of(RunConfig, "accumulate"),
        click.option("--compile", "compiled", is_flag=True, help="Use torch.compile."),
        precision_option,
    )


class TaskOption(click.Option):
    """An option of tasks.

    Attributes:
        tasks: Names of the tasks that have it.
    """

    def __init__(self, *args: Any, tasks: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tasks = tasks


class TaskCommand(click.Command):
    """A command whose help shows the options of each task in a section of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of all tasks first, and then those of some."""
        sections: dict[tuple[str, ...], list[tuple[str, str]]] = {(): []}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(param, "tasks", ()), []).append(record)
        for tasks, records in sections.items():
            with formatter.section(f"Options of --task {', '.join(tasks)}" if tasks else "Options"):
                formatter.write_dl(records)


def task_options(function: Command) -> Command:
    """``--task``, ``--backbone-ckpt``, and the flags of every task's options; see ``task_args_of``."""
    having: dict[str, list[str]] = {}
    for task, kind in OPTIONS.items():
        for entry in fields(kind):
            having.setdefault(entry.name, []).append(task)
    return _all(
        function,
        option_of(RunConfig, "task"),
        option_of(RunConfig, "backbone_ckpt", type=click.Path()),
        *(_task_option(name, tasks) for name, tasks in having.items()),
    )


def _task_option(name: str, tasks: list[str]) -> Callable[[Command], Command]:
    """The option of several tasks, whose defaults may differ."""
    defaults = {task: OPTIONS[task].__dataclass_fields__[name].default for task in tasks}  # type: ignore[attr-defined]
    kind = OPTIONS[tasks[0]]
    said: dict[str, Any] = {"cls": TaskOption, "tasks": tuple(tasks)}
    if len({*map(str, defaults.values())}) == 1:
        return option_of(kind, name, **said)
    words = (
        f"{', '.join(map(str, value)) if isinstance(value, tuple) else value} ({task})"
        for task, value in defaults.items()
    )
    return option_of(kind, name, absent="; ".join(words), **said)


def task_args_of(options: dict[str, Any], task: str) -> dict[str, Any]:
    """Take the options of tasks out of a command's, and return those that were given.

    Args:
        options: Values of the current command's options; those of tasks are removed.
        task: What is trained for.

    Raises:
        StripeError: One that was given is of another task.
    """
    context = click.get_current_context()
    given = {}
    for param in context.command.params:
        if not isinstance(param, TaskOption) or param.name is None:
            continue
        value = options.pop(param.name)
        if context.get_parameter_source(param.name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        if task not in param.tasks:
            raise StripeError(
                f"{param.opts[0]} is an option of the task {' and '.join(param.tasks)}, and this trains for {task}: "
                f"leave it away, or say --task {param.tasks[0]}."
            )
        given[param.name] = value
    return given


def _all(function: Command, *options: Callable[[Any], Any]) -> Command:
    return reduce(lambda decorated, option: option(decorated), reversed(options), function)
