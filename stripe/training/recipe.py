"""What a recipe is: everything about the optimisation that is decided before the first step.

Those of the paper are in `stripe.training.recipes`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import torch

from stripe.errors import StripeError

__all__ = ["RESNET", "Algorithm", "Recipe", "Schedule"]

Schedule = Literal["step", "cosine"]
Algorithm = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class Recipe:
    """How a network is optimised; the learning rate is a pure function of the epoch, so it can be stored beside it.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images a step.
        lr: The initial rate η₀.
        schedule: ``"step"`` or ``"cosine"``, see `learning_rate`.
        milestones: Numbers of epochs after which a step schedule multiplies the rate by ``gamma``.
        gamma: Factor of a step schedule.
        momentum: Momentum of SGD (not Nesterov's), β₁ of AdamW; its β₂ is .999.
        weight_decay: On every parameter, those of the norm layers included: SGD's L2 penalty, AdamW's decay.
        algorithm: ``"sgd"`` or ``"adamw"``.

    Raises:
        StripeError: If a value is out of its range.

    Example:
        >>> RESNET.scaled(12).milestones
        (6, 9)
    """

    epochs: int
    batch_size: int
    lr: float
    schedule: Schedule
    milestones: tuple[int, ...]
    gamma: float
    momentum: float
    weight_decay: float
    algorithm: Algorithm = "sgd"

    def __post_init__(self) -> None:
        wrong = {
            "epochs": self.epochs < 1,
            "batch_size": self.batch_size < 1,
            "lr": not 0 < self.lr < math.inf,
            "schedule": self.schedule not in get_args(Schedule),
            "gamma": not 0 < self.gamma <= 1,
            "momentum": not 0 <= self.momentum < 1,
            "weight_decay": not 0 <= self.weight_decay < math.inf,
            "algorithm": self.algorithm not in get_args(Algorithm),
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise StripeError(f"{name}={getattr(self, name)!r} is out of range for a training recipe")

    def scaled(self, epochs: int) -> Self:
        """The same recipe over another number of epochs, a milestone m moved to round(m · epochs / self.epochs).

        No milestone moves before the end of the first epoch, so that even a short run starts at the full rate.
        """
        moved = sorted({max(1, round(m * epochs / self.epochs)) for m in self.milestones})
        return replace(self, epochs=epochs, milestones=tuple(moved))

    def learning_rate(self, epoch: int) -> float:
        """Learning rate during an epoch.

        - step: η₀ · gammaᵏ, k the number of milestones that lie before this epoch;
        - cosine: η₀ · (1 + cos(π (epoch − 1) / epochs)) / 2.

        Args:
            epoch: Which epoch, from 1 to ``epochs``.
        """
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2
        return self.lr * self.gamma ** sum(epoch > milestone for milestone in self.milestones)

    def optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser that this recipe says; the rate is set anew at every epoch.

        Raises:
            StripeError: If nothing can be trained.
        """
        trainable = [parameter for parameter in parameters if parameter.requires_grad]
        if not trainable:
            raise StripeError("this model has no parameter that can be trained")
        # One kernel for all parameters instead of several for each.
        fused = all(parameter.device.type in {"cpu", "cuda"} for parameter in trainable)
        lr, decay = self.lr, self.weight_decay
        if self.algorithm == "adamw":
            return torch.optim.AdamW(trainable, lr, betas=(self.momentum, 0.999), weight_decay=decay, fused=fused)
        return torch.optim.SGD(trainable, lr, momentum=self.momentum, weight_decay=decay, fused=fused)


# The recipe of ResNet83 and ResNet164 on CIFAR (table 10).
RESNET = Recipe(
    epochs=164,
    batch_size=128,
    lr=0.1,
    schedule="step",
    milestones=(81, 122),
    gamma=0.1,
    momentum=0.9,
    weight_decay=1e-4,
)
