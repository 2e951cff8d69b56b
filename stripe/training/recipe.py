"""Recipes: everything about the optimisation that is decided before the first step.

The paper's recipes are in ``stripe.training.recipes``.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from stripe.errors import StripeError
from stripe.models.spec import Range, out_of_range

if TYPE_CHECKING:
    import torch

__all__ = ["RESNET", "Algorithm", "Group", "Precision", "Recipe", "Schedule"]

Schedule = Literal["step", "cosine"]
Algorithm = Literal["sgd", "adamw"]
Precision = Literal["float32", "bfloat16"]
"""Number format of convolutions and matrix products."""

RATE = Range(0, low_open=True)
MOMENTUM = Range(0, 1, high_open=True)
DECAY = Range(0)


@dataclass(frozen=True)
class Group:
    """Parameters that are optimised otherwise than the rest; None is what the recipe says.

    Attributes:
        names: Which: a pattern of their names in the network, such as ``"*.bias"`` or ``"backbone.*"``.
        lr: The initial rate; the recipe's schedule and warm-up go on from it.
        momentum: As of a recipe.
        weight_decay: As of a recipe.
        algorithm: As of a recipe; parameters with another algorithm have an optimiser of their own.

    Raises:
        StripeError: If a value is out of its range.
    """

    names: str
    lr: float | None = field(default=None, metadata={"range": RATE})
    momentum: float | None = field(default=None, metadata={"range": MOMENTUM})
    weight_decay: float | None = field(default=None, metadata={"range": DECAY})
    algorithm: Algorithm | None = None

    def __post_init__(self) -> None:
        wrong = {
            "names": not self.names,
            "algorithm": self.algorithm is not None and self.algorithm not in get_args(Algorithm),
        }
        for name in (*out_of_range(self), *(name for name, is_wrong in wrong.items() if is_wrong)):
            raise StripeError(f"{name}={getattr(self, name)!r} is out of range for a group of parameters")


@dataclass(frozen=True)
class Recipe:
    """How a network is optimised; the learning rate is a pure function of the step, so it can be stored beside it.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images a step.
        lr: The initial rate η₀.
        schedule: ``"step"`` or ``"cosine"``, see ``learning_rate``.
        milestones: Numbers of epochs after which a step schedule multiplies the rate by ``gamma``.
        gamma: Factor of a step schedule.
        momentum: Momentum of SGD (not Nesterov's), β₁ of AdamW; its β₂ is .999.
        weight_decay: On every parameter, those of the norm layers included: SGD's L2 penalty, AdamW's decay.
        algorithm: ``"sgd"`` or ``"adamw"``.
        warmup: Epochs in which the rate rises to that of the schedule, linearly, a bit at every step.
        warmup_steps: The same in steps; only one of the two is said.
        per_step: Whether the schedule falls at every step and not only between epochs.
        groups: Parameters that are optimised otherwise; each belongs to the first group whose names fit.
        label_smoothing: ε, the share of each label that is spread evenly over all classes in the loss that is
            minimised, and so in the loss that is reported on training images. Losses on held-out and test images are
            those of the labels as they are. For tasks whose images have one class each.
        full_epochs: Epochs of the recipe that this one was ``scaled`` from, as is said of a run's scale; None: it was
            not. It changes nothing, so recipes that differ in it alone are equal.

    Raises:
        StripeError: If a value is out of its range.

    Example:
        >>> RESNET.scaled(12).milestones
        (6, 9)
    """

    epochs: int = field(metadata={"range": Range(1), "help": "Milestones scale with it."})
    batch_size: int = field(metadata={"range": Range(1), "help": "Of all processes together."})
    lr: float = field(metadata={"range": RATE, "help": "Initial learning rate."})
    schedule: Schedule
    milestones: tuple[int, ...]
    gamma: float = field(metadata={"range": Range(0, 1, low_open=True)})
    momentum: float = field(metadata={"range": MOMENTUM})
    weight_decay: float = field(metadata={"range": DECAY})
    algorithm: Algorithm = "sgd"
    warmup: int = 0
    warmup_steps: int = 0
    per_step: bool = False
    groups: tuple[Group, ...] = ()
    label_smoothing: float = field(
        default=0.0,
        metadata={
            "range": Range(0, 1, high_open=True),
            "metavar": "E",
            "help": "Share of each label that is spread over all classes in training; not in test losses.",
        },
    )
    full_epochs: int | None = field(default=None, compare=False, repr=False, metadata={"range": Range(1)})

    def __post_init__(self) -> None:
        wrong = {
            "schedule": self.schedule not in get_args(Schedule),
            "algorithm": self.algorithm not in get_args(Algorithm),
            "warmup": not 0 <= self.warmup <= self.epochs,
            "warmup_steps": self.warmup_steps < 0 or (self.warmup > 0 and self.warmup_steps > 0),
        }
        for name in (*out_of_range(self), *(name for name, is_wrong in wrong.items() if is_wrong)):
            raise StripeError(f"{name}={getattr(self, name)!r} is out of range for a training recipe")

    def settings(self) -> dict[str, Any]:
        """All attributes but ``full_epochs``, ready for JSON, as runs and their addresses hold them.

        Attributes that the first release did not have are left out where they change nothing, so that the settings of
        a run that does not use them, and its address, stay what they were.
        """
        said = {name: value for name, value in asdict(self).items() if name != "full_epochs"}
        later = {"warmup": 0, "warmup_steps": 0, "per_step": False, "groups": (), "label_smoothing": 0.0}
        return {name: value for name, value in said.items() if name not in later or value != later[name]}

    def scaled(self, epochs: int) -> Self:
        """The same recipe over another number of epochs, a milestone m moved to round(m · epochs / self.epochs).

        No milestone moves before the end of the first epoch, so that even a short run starts at the full rate. A
        warm-up of epochs is scaled likewise, one of steps stays.
        """
        moved = sorted({max(1, round(m * epochs / self.epochs)) for m in self.milestones})
        warmup = min(self.warmup, max(1, round(self.warmup * epochs / self.epochs)))
        return replace(self, epochs=epochs, milestones=tuple(moved), warmup=warmup, full_epochs=self.epochs)

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

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """Learning rate at a step: that of the epoch, or with ``per_step`` the cosine at the step, times the warm-up.

        The warm-up is min(1, (t + 1) / W) at step t of the training, W its number of steps.

        Args:
            epoch: Which epoch, from 1.
            step: Which of its steps, from 0.
            steps: How many steps an epoch has.
        """
        if self.per_step and self.schedule == "cosine":
            done = (epoch - 1 + step / steps) / self.epochs
            rate = self.lr * (1 + math.cos(math.pi * done)) / 2
        else:
            rate = self.learning_rate(epoch)
        rising = self.warmup_steps or self.warmup * steps
        return rate * min(1.0, ((epoch - 1) * steps + step + 1) / rising) if rising else rate

    def optimizer(self, parameters: "Iterable[torch.nn.Parameter]") -> "torch.optim.Optimizer":
        """The optimiser that this recipe says, without its groups; the rate is set anew at every step.

        Raises:
            StripeError: If nothing can be trained.
        """
        (only,) = replace(self, groups=()).optimizers(("", parameter) for parameter in parameters)
        return only

    def optimizers(self, parameters: "Iterable[tuple[str, torch.nn.Parameter]]") -> "list[torch.optim.Optimizer]":
        """The optimisers that this recipe says, one for each algorithm, its own first.

        Args:
            parameters: With names, as ``named_parameters()`` gives them; those that are frozen are left out.

        Raises:
            StripeError: If nothing can be trained, or a group is of no parameter.
        """
        import torch  # here, so that a recipe can be read without it

        trainable = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
        if not trainable:
            raise StripeError("this model has no parameter that can be trained")
        rest = Group("*")
        members: dict[Group, list[torch.nn.Parameter]] = {group: [] for group in (rest, *self.groups)}
        for name, parameter in trainable:
            group = next((group for group in self.groups if fnmatchcase(name, group.names)), rest)
            members[group].append(parameter)
        for group in self.groups:
            if not members[group]:
                raise StripeError(f"no parameter for the group {group.names!r}: none that is trained has such a name")
        algorithms = dict.fromkeys([self.algorithm, *(group.algorithm or self.algorithm for group in self.groups)])
        found: list[torch.optim.Optimizer] = []
        for algorithm in algorithms:
            own = [
                self._options(group, each)
                for group, each in members.items()
                if each and (group.algorithm or self.algorithm) == algorithm
            ]
            # One kernel for all parameters instead of several for each.
            fused = all(parameter.device.type in {"cpu", "cuda"} for group in own for parameter in group["params"])
            if own:
                kind = torch.optim.AdamW if algorithm == "adamw" else torch.optim.SGD
                found.append(kind(own, fused=fused))
        return found

    def _options(self, group: Group, parameters: "list[torch.nn.Parameter]") -> dict[str, Any]:
        """A group as torch's optimisers take it."""
        momentum = self.momentum if group.momentum is None else group.momentum
        return {
            "params": parameters,
            "lr": self.lr if group.lr is None else group.lr,
            "weight_decay": self.weight_decay if group.weight_decay is None else group.weight_decay,
            **(
                {"betas": (momentum, 0.999)}
                if (group.algorithm or self.algorithm) == "adamw"
                else {"momentum": momentum}
            ),
        }


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
