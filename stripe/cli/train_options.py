"""The options of ``stripe train`` that no other command has, in groups."""

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stripe.cli.options import precision_option

if TYPE_CHECKING:
    from stripe.training import Recipe

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


def schedule_in_words(recipe: "Recipe") -> str:
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
        click.option("--epochs", type=click.IntRange(1), help="Default: the recipe's. Milestones scale with it."),
        click.option("--batch-size", type=click.IntRange(1), help="Of all processes together. Default: the recipe's."),
        click.option(
            "--lr", type=click.FloatRange(0, min_open=True), help="Initial learning rate. Default: the recipe's."
        ),
        click.option("--weight-decay", type=click.FloatRange(0), help="Default: the recipe's."),
        click.option("--schedule", type=click.Choice(["step", "cosine"]), help="Default: the recipe's."),
        click.option(
            "--images-per-epoch", type=click.IntRange(1), help="Random images to train on in each epoch. Default: all."
        ),
        click.option(
            "--ema",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            metavar="DECAY",
            help="Score and keep a moving average of the weights, as 0.999. Default: the weights.",
        ),
    )


def asr_options(function: Command) -> Command:
    """What becomes of κ, and noise."""
    return _all(
        function,
        click.option(
            "--mode",
            type=click.Choice(["none", "attention", "asr", "both"]),
            help="--attention κ in the network, ASR(κ) instead, or both. Default: attention, where one is given.",
        ),
        click.option(
            "--where", metavar="PATTERN", help="Layers that ASR follows, as 'layer*.bn3'. Default: as in the paper."
        ),
        click.option(
            "--copies", type=click.IntRange(1), default=1, show_default=True, help="δ, how many ASR at each place."
        ),
        click.option("--psi", type=Psi(), help="ψ's first value: 0.1, C0.1 or N0.3. Default: the paper's."),
        click.option("--psi-fixed", is_flag=True, help="Don't train ψ."),
        click.option(
            "--asr-start",
            type=click.Choice(["paper", "alive"]),
            default="paper",
            show_default=True,
            help="alive: draw ASR that cannot learn (none of its hidden units is on) again; paper: keep it.",
        ),
        click.option(
            "--noise",
            type=Pair(),
            default=(1.0, 0.0),
            help="Disturb every batch normalisation: N_a times the normalised map, plus N_b. Default: 1,0, no noise.",
        ),
        click.option(
            "--noise-random",
            type=click.FloatRange(0),
            default=0.0,
            metavar="STD",
            help="Draw N_a and N_b of each channel, once, with this standard deviation.",
        ),
    )


def effort_options(function: Command) -> Command:
    """How the machine is used."""
    return _all(
        function,
        click.option(
            "--accumulate",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            metavar="K",
            help="Compute each batch in K parts, for want of memory.",
        ),
        click.option("--compile", "compiled", is_flag=True, help="Use torch.compile."),
        precision_option,
    )


def _all(function: Command, *options: Callable[[Any], Any]) -> Command:
    return reduce(lambda decorated, option: option(decorated), reversed(options), function)
