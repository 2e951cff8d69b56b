"""The papers that are reproduced, and the folder where their recipes lie."""

from pathlib import Path

import stripe
from stripe.errors import StripeError

__all__ = ["FIRST", "PAPERS", "SCALES", "folder", "paper_of"]

PAPERS = {
    "asr": "Stripe Observation Guided Inference Cost-free Attention Mechanism (Huang et al., ECCV 2024)",
    "search": "Attention Module, a report on searched structures of attention",
    "spsa": "Simple Parameter-free Self-attention Approximation (Zhai et al., ICLR 2023, Tiny Papers)",
}
"""Title of each paper by the name of the folder of its recipes."""

FIRST = "asr"
"""The paper whose recipes go by the names of their files alone, such as ``fig12``."""

SCALES = "scales.toml"
"""The file beside the papers' folders that says what all recipes have in common, see ``stripe.reproduce.scale``."""


def folder() -> Path:
    """Return the folder of the papers: ``figures`` of a source checkout, or the copy in an installed package.

    Raises:
        StripeError: The installation has no recipes.
    """
    package = Path(stripe.__file__).parent
    for place in (package.parent / "figures", package / "reproduce" / "figures"):
        if (place / SCALES).is_file():
            return place
    raise StripeError(f"The recipes of the figures are missing from this installation of stripe ({package}).")


def paper_of(path: Path) -> str:
    """Return the paper of a recipe, a key of ``PAPERS``; ``""`` for a recipe of your own.

    Args:
        path: The file of the recipe.
    """
    place = path.absolute().parent
    return place.name if place.name in PAPERS and (place.parent / SCALES).is_file() else ""
