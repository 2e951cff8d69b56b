"""Batch normalisation that is frozen: weight, bias and statistics are buffers, and its arithmetic is written out.

Detectors and fine-tuned networks have it: ``FrozenBatchNorm2d`` of torchvision (and of Detectron2, DETR …), and timm's
``FrozenBatchNormAct2d``, which an activation belongs to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["as_batch_norm", "freeze", "is_frozen_norm"]

_EPS = 1e-5
"""Of classes that write it into their forward."""


def is_frozen_norm(module: nn.Module) -> bool:
    """Whether a module is a frozen batch normalisation, by the name of its class or of one that it was derived from.

    Example:
        >>> from torchvision.ops import FrozenBatchNorm2d
        >>> is_frozen_norm(FrozenBatchNorm2d(4)), is_frozen_norm(nn.BatchNorm2d(4))
        (True, False)
    """
    named = any("FrozenBatchNorm" in kind.__name__ for kind in type(module).__mro__)
    return named and all(
        isinstance(getattr(module, name, None), Tensor) for name in ("weight", "bias", "running_mean", "running_var")
    )


def freeze(model: nn.Module) -> None:
    """Freeze the batch normalisations inside a network, in place: torchvision's classes with the same numbers.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        >>> freeze(model)
        >>> model[1], list(model.state_dict())[2:]
        (FrozenBatchNorm2d(4, eps=1e-05), ['1.weight', '1.bias', '1.running_mean', '1.running_var'])
    """
    from timm.layers import freeze_batch_norm_2d  # imported here because timm takes seconds

    for name, child in list(model.named_children()):
        setattr(model, name, freeze_batch_norm_2d(child))


@contextmanager
def as_batch_norm(model: nn.Module) -> Iterator[None]:
    """Within, the frozen normalisations of a network call torch's ``batch_norm``, as the ordinary ones do.

    So whoever follows the calls of a network sees what they are. The outputs are the same but for rounding.

    Args:
        model: Any network; as it was afterwards.
    """
    frozen = [module for module in model.modules() if is_frozen_norm(module) and "forward" not in vars(module)]
    for module in frozen:
        module.forward = partial(_forward, module)
    try:
        yield
    finally:
        for module in frozen:
            del module.forward


def _forward(module: Any, images: Tensor) -> Tensor:
    eps = getattr(module, "eps", _EPS)
    normalised = F.batch_norm(images, module.running_mean, module.running_var, module.weight, module.bias, eps=eps)
    for follower in (getattr(module, "drop", None), getattr(module, "act", None)):
        normalised = normalised if follower is None else follower(normalised)
    return normalised
