"""Training: recipes, the loop, run directories."""

from typing import TYPE_CHECKING

from stripe.lazy import names_of

if TYPE_CHECKING:
    from stripe.training.compute import Compute
    from stripe.training.config import RunConfig
    from stripe.training.epoch import Score, evaluate
    from stripe.training.loop import fit
    from stripe.training.metrics import EpochMetrics
    from stripe.training.recipe import RESNET, Recipe, Schedule
    from stripe.training.recipes import RECIPES, recipe_for
    from stripe.training.run import Run
    from stripe.training.seeds import train_seeds
    from stripe.training.trainer import train
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
    compute=("Compute",),
    config=("RunConfig",),
    epoch=("Score", "evaluate"),
    loop=("fit",),
    metrics=("EpochMetrics",),
    recipe=("RESNET", "Recipe", "Schedule"),
    recipes=("RECIPES", "recipe_for"),
    run=("Run",),
    seeds=("train_seeds",),
    trainer=("train",),
    world=("World", "join"),
)
