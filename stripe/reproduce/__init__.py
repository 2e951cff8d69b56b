"""Every figure and table of three papers from a recipe: what is missing is trained, then drawn.

A recipe (``figures/<paper>/*.toml``) names runs and a kind of picture, and holds the paper's own numbers. Runs lie in a
cache, each in a directory named by everything that determines its result: figures share runs, and an interruption costs
one epoch at most.

Example:
    >>> from stripe import reproduce
    >>> plans = [reproduce.Plan.make(recipe, "quick") for recipe in reproduce.find(["fig12"])]
    >>> [request.model for request in plans[0].requests]
    ['resnet20']
"""

from stripe.reproduce.cache import Cache
from stripe.reproduce.catalog import find, recipes
from stripe.reproduce.papers import PAPERS
from stripe.reproduce.plan import Plan
from stripe.reproduce.recipe import Recipe, read
from stripe.reproduce.scale import Changes, read_scale

__all__ = ["PAPERS", "Cache", "Changes", "Plan", "Recipe", "find", "read", "read_scale", "recipes"]
