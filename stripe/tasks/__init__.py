"""What a network is trained for: how samples become a batch, what is minimised, how well it does.

`Classification` is the task of the paper. Another one is a subclass of `Task`, also one outside this package.
"""

from stripe.tasks.base import OfRecipe, Scored, Scoring, Task, count_of, select
from stripe.tasks.classification import CLASSES, Classification, Score

__all__ = ["CLASSES", "Classification", "OfRecipe", "Score", "Scored", "Scoring", "Task", "count_of", "select"]
