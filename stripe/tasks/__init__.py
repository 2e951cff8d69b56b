"""What a network is trained for: how samples become a batch, what is minimised, how well it does.

``Classification`` is the task of the paper. Another one is a subclass of ``Task``, also one outside this package.
"""

from typing import TYPE_CHECKING

from stripe.lazy import names_of

if TYPE_CHECKING:
    from stripe.tasks.base import Judge, Meter, OfRecipe, Place, Scored, Task, count_of, select
    from stripe.tasks.classification import CLASSES, Classification, Score
    from stripe.tasks.registry import named, recorded, register, tasks
    from stripe.tasks.scoring import ACCURACY, Scoring

__all__ = [
    "ACCURACY",
    "CLASSES",
    "Classification",
    "Judge",
    "Meter",
    "OfRecipe",
    "Place",
    "Score",
    "Scored",
    "Scoring",
    "Task",
    "count_of",
    "named",
    "recorded",
    "register",
    "select",
    "tasks",
]

__getattr__ = names_of(
    __name__,
    base=("Judge", "Meter", "OfRecipe", "Place", "Scored", "Task", "count_of", "select"),
    classification=("CLASSES", "Classification", "Score"),
    registry=("named", "recorded", "register", "tasks"),
    scoring=("ACCURACY", "Scoring"),
)
