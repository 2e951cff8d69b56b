"""The options of ``stripe train`` that no other command has, in groups."""

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

from stripe.cli.options import option_of, precision_option
from stripe.training import Recipe, RunConfig

__all__ = ["asr_options", "effort_options", "recipe_options", "schedule_in_words"]

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
            "table": str(row.table),
            "epochs": str(row.recipe.epochs),
            "batch": str(row.recipe.batch_size),
            "optimiser": row.recipe.algorithm,
            "lr": f"{row.recipe.lr:g}",
            "schedule": schedule_in_words(row.recipe),
            "weight_decay": f"{row.recipe.weight_decay:g}",
        }
        for name, row in RECIPES.items()
    ]
    print_records(rows, "table", title="The paper's recipes")


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


def _all(function: Command, *options: Callable[[Any], Any]) -> Command:
    return reduce(lambda decorated, option: option(decorated), reversed(options), function)
