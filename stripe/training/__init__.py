"""Training: recipes, the loop, run directories."""

from typing import TYPE_CHECKING

from stripe.lazy import names_of

if TYPE_CHECKING:
    from stripe.training.by_name import train
    from stripe.training.compute import Compute
    from stripe.training.config import RunConfig
    from stripe.training.fitting import fit
    from stripe.training.loop import Score, evaluate
    from stripe.training.recipe import RESNET, Recipe, Schedule
    from stripe.training.recipes import RECIPES, recipe_for
    from stripe.training.run import EpochMetrics, Run
    from stripe.training.seeds import train_seeds
    from stripe.training.world import World, join

__all__ = [
    "RECIPES",
    "RESNET",
    "Compute",
    "EpochMetrics",
    "Recipe",
    "Run",
    "RunConfig",
    "Schedule",
    "Score",
    "World",
    "evaluate",
    "fit",
    "join",
    "recipe_for",
    "train",
    "train_seeds",
]

__getattr__ = names_of(
    __name__,
    by_name=("train",),
    compute=("Compute",),
    config=("RunConfig",),
    fitting=("fit",),
    loop=("Score", "evaluate"),
    recipe=("RESNET", "Recipe", "Schedule"),
    recipes=("RECIPES", "recipe_for"),
    run=("EpochMetrics", "Run"),
    seeds=("train_seeds",),
    world=("World", "join"),
)
