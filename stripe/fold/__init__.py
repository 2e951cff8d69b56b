"""Folding: the attention of a trained network becomes constants, and these go into the weights around them.

Example:
    >>> result = fold(model, calibration_loader, held_out=held_out_loader)  # doctest: +SKIP
    >>> result.sites  # how constant each was, what folding it cost, where it went  # doctest: +SKIP
    >>> result.save("folded.safetensors", {"model": "timm:seresnet50"})  # doctest: +SKIP
    >>> model = stripe.load("folded.safetensors")  # doctest: +SKIP
"""

from stripe.fold.finetuning import Finetune
from stripe.fold.pipeline import WIN_BACK, fold
from stripe.fold.result import FoldResult

__all__ = ["WIN_BACK", "Finetune", "FoldResult", "fold"]
