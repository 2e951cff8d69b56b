"""The base class of tasks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from stripe.adapter import Batch, call, explained
from stripe.data import Augmentation, Data, Split, train_batches
from stripe.data.base import Batches, Share
from stripe.errors import StripeError
from stripe.tasks.scoring import Scoring

__all__ = ["Judge", "Meter", "OfRecipe", "Place", "Scored", "Task", "count_of", "select"]


class Scored(Protocol):
    """How well a network does: a named tuple with ``loss`` and whatever else its task measures, all numbers."""

    @property
    def loss(self) -> float:
        """Mean over the images of what is minimised."""
        ...


class OfRecipe(Protocol):
    """What a task asks of a recipe, see ``stripe.training.Recipe``."""

    def optimizers(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> list[torch.optim.Optimizer]:
        """The optimisers of parameters with names, as ``named_parameters()`` gives them."""
        ...


class Meter(Protocol):
    """Measures of a task that are no sums over images, such as the average precision of detections."""

    def update(self, output: Any, targets: Any) -> None:
        """Take in the output for a batch and its targets, as ``Task.losses`` takes them."""
        ...

    def compute(self) -> dict[str, float]:
        """Name of a measure → its value, over the images of all processes, in each of which this is called."""
        ...


class Judge(Protocol):
    """The measure ``Scoring.best`` of some of the images alone, for the standard error of what is no mean over them."""

    def update(self, output: Any, targets: Any) -> None:
        """Take in the output for a batch and its targets, as ``Task.losses`` takes them."""
        ...

    def without(self, groups: Sequence[Sequence[int]]) -> list[float]:
        """The measure of all images but those of a group, for each group; NaN where it is not defined.

        Args:
            groups: Numbers of the images of each group, in the order in which they were taken in.
        """
        ...


class Place(Protocol):
    """Where and in which precision a network is computed, see ``stripe.training.Compute``."""

    @property
    def device(self) -> torch.device:
        """The device."""
        ...

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model there, in place."""
        ...

    def autocast(self) -> AbstractContextManager[object]:
        """The context to run a model in."""
        ...


class Task(ABC):
    """What a network is trained for.

    The training loop takes a batch from the data, has the task make inputs and targets of it (``collate``), run the
    network (``forward``), say what is to be minimised (``losses``) and count what its score consists of (``sums``).
    Numbers stay on the device during an epoch; at its end the task makes a score of what was summed up over all images
    and all processes (``score``).

    A subclass gives ``name``, ``scoring``, ``losses``, ``sums`` and ``score``, and ``outputs`` where a network has not
    one output per class; everything else may stay as it is: how annotated images are varied (``augmentation``), what
    the batches of an epoch are (``batches``), which optimiser moves what (``optimizers``), scores that are no sums
    (``meter``), label smoothing (``smoothed``), what is made once (``prepare``) and after each epoch
    (``after_epoch``). Images are a tensor
    (N, C, H, W) or a list of N tensors (C, H, W). Targets are a tensor or a list with an entry for each image, or a
    dictionary or tuple of such.

    Args:
        options: An object of the class's ``options``; None: all as by default.

    Attributes:
        name: A word for it, in the settings of a run.
        scoring: What it measures, and what is best; settled when ``prepare`` has been called.
        options: The dataclass of its options, see ``stripe.tasks.options``; None: it has none.
        chosen: The options that it was made with; None where it has none.

    Example:
        A number for each image, such as an angle, which the data gives in place of classes:

        >>> from typing import NamedTuple
        >>> class Error(NamedTuple):
        ...     loss: float
        ...     error: float
        >>> class Regression(Task):
        ...     name = "regression"
        ...     scoring = Scoring(("loss", "error"), best="error", higher_is_better=False)
        ...
        ...     def outputs(self, data):
        ...         return 1
        ...
        ...     def losses(self, output, targets):
        ...         return {"square": (output[:, 0] - targets).square().mean()}
        ...
        ...     def sums(self, output, targets, *, training):
        ...         return (output[:, 0] - targets).abs().sum()[None]
        ...
        ...     def score(self, loss, sums, images):
        ...         return Error(loss, sums[0] / images)
        >>> task = Regression()
        >>> output, targets = torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 2.0])
        >>> task.losses(output, targets), task.sums(output, targets, training=False)
        ({'square': tensor(2.5000)}, tensor([3.]))
    """

    name: ClassVar[str]
    scoring: Scoring
    options: ClassVar[type | None] = None
    chosen: Any = None

    def __init__(self, options: Any = None) -> None:
        kind = type(self).options
        self.chosen = kind() if options is None and kind else options

    @classmethod
    def of_data(cls, data: Data, options: Any = None) -> Self:
        """The task on some data; where a task is made by its name, this makes it.

        Args:
            data: What is trained or scored on. Classification takes the number of its classes from it.
            options: An object of ``cls.options``; None: all as by default. Only a task that has options is given any.
        """
        return cls() if options is None else cls(options)

    def outputs(self, data: Data) -> int | None:
        """The number of outputs of a network for this task, where ``num_classes`` does not say it.

        Args:
            data: What is trained on.

        Returns:
            A number, such as 1 for a regression; None, the default, for as many as the data has classes.
        """
        return None

    def prepare(self, model: nn.Module, data: Data, compute: Place) -> None:  # noqa: B027
        """Make what the task needs beside the network, once, before the first batch; nothing by default.

        Args:
            model: The network, placed by ``compute``. What it gives may settle ``scoring``.
            data: What is trained or scored on, normalised as the network is fed.
            compute: Device and precision, for helpers such as another network.

        Raises:
            StripeError: The network or the data is not one for this task.
        """

    def needed(self, data: Data) -> Data:
        """The data with those annotations alone that the task has a use for; called after ``prepare``."""
        return data

    def augmentation(self, split: Split) -> Augmentation | None:
        """How images with annotations are varied in training; None, the default: as ``Augmentation()`` says.

        Args:
            split: What is trained on.
        """
        return None

    def batches(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        images_per_epoch: int | None = None,
        device: torch.device | str = "cpu",
        workers: int | None = None,
        share: Share = np.arange,
    ) -> Batches:
        """The batches of one epoch of training; arguments and default are those of ``stripe.data.train_batches``.

        Order and augmentation must follow from ``(seed, epoch)`` alone, so that a run can be resumed.
        """
        return train_batches(
            split,
            batch_size,
            seed=seed,
            epoch=epoch,
            images_per_epoch=images_per_epoch,
            device=device,
            workers=workers,
            share=share,
            augmentation=self.augmentation(split),
        )

    def collate(self, images: Any, labels: Any) -> tuple[Any, Any]:
        """Make images and targets of what the data gives; as they are, where a task does not say otherwise.

        Args:
            images: uint8 (N, 3, H, W), on the device, augmented where they are trained on.
            labels: What the data gives beside them, ``Split.labels``: classes, int64 (N,), or float32 (N,) or (N, …).

        Returns:
            Images (still uint8; they are normalised next) and targets.
        """
        return images, labels

    def forward(self, model: nn.Module, batch: Batch, targets: Any) -> Any:
        """Run the network; in the precision of the training.

        In evaluation mode, too, it gives whatever ``losses`` needs: of a network that computes its losses in training
        mode alone, the task computes them in here.

        Args:
            model: The network, in training or evaluation mode.
            batch: Its normalised inputs, which it may change.
            targets: For networks that compute their losses themselves.

        Returns:
            What ``losses`` and ``sums`` take.

        Raises:
            StripeError: The network raises something.
        """
        with explained(model, batch):
            return call(model, batch.inputs)

    @abstractmethod
    def losses(self, output: Any, targets: Any) -> Mapping[str, Tensor]:
        """The losses of a batch, by name; their sum is minimised.

        Args:
            output: Output of ``forward``.
            targets: Targets of the same images.

        Returns:
            Name → mean of the loss over the images of the batch, a number. A loss whose name stands in
            ``scoring.losses`` is also recorded on its own, as a column of ``metrics.csv``.
        """

    def smoothed(self, label_smoothing: float) -> "Task":
        """The task as it is trained with label smoothing; it is scored as it is without.

        Args:
            label_smoothing: The share of each label that is spread evenly over all classes.

        Returns:
            Another task, which differs in ``losses`` alone.

        Raises:
            StripeError: The task has no labels to smooth, as by default.
        """
        raise StripeError(
            f"label_smoothing={label_smoothing:g} is for tasks whose images have one class each, such as "
            f"classification; the task {self.name} has no such labels. Leave it at 0."
        )

    @abstractmethod
    def sums(self, output: Any, targets: Any, *, training: bool) -> Tensor:
        """Sums over the images of a batch from which ``score`` computes the score, such as the number of hits.

        They stay on the device, and nothing in here should wait for it (``.item()``), which would slow training down.

        Args:
            output: Output of ``forward``.
            targets: Targets of the same images.
            training: Whether this is a batch of training, where only the measures of ``scoring`` are wanted.

        Returns:
            (K,), of a length that is the same for every batch: hits, errors, a flattened confusion matrix.
        """

    @abstractmethod
    def score(self, loss: float, sums: Sequence[float], images: int) -> Scored:
        """How well the network did on all images.

        Args:
            loss: Mean of the sum of the losses.
            sums: The means over all images of the losses in ``scoring.losses``, in that order, followed by the K
                numbers of the method ``sums``, each added up over all batches and processes.
            images: How many images there were.

        Returns:
            A named tuple with ``scoring.measures`` among its fields.
        """

    def meter(self, *, training: bool) -> Meter | None:
        """What measures that which ``sums`` cannot; a new one for every pass over images. None, the default: nothing.

        Args:
            training: Whether it is for the images of a training epoch.

        Returns:
            A meter. What it computes takes the place of the fields of that name of the score, which ``score`` leaves
            NaN.
        """
        return None

    def judge(self) -> Judge | None:
        """What judges networks that are compared on the same images; None, the default: nothing does."""
        return None

    def optimizers(self, model: nn.Module, recipe: OfRecipe) -> list[torch.optim.Optimizer]:
        """Which optimiser moves which parameters; the recipe's, where a task does not say otherwise.

        Rates follow the recipe's schedule, each in the ratio in which it begins to the recipe's first rate. One may be
        a ``torch.optim.Optimizer`` of the task's own, such as one that moves other parameters in every second step;
        what it remembers must be in its ``state_dict``.
        """
        return recipe.optimizers(model.named_parameters())

    def after_epoch(self, model: nn.Module, epoch: int, folder: Path) -> None:  # noqa: B027
        """Write what an epoch leaves behind beside its metrics, such as a picture; nothing by default.

        Called by the first process. An epoch that is repeated after an interruption calls it again.

        Args:
            model: The network as it is scored, in evaluation mode.
            epoch: Which, from 1.
            folder: The run directory.
        """

    def text(self, value: float) -> str:
        """The measure by which epochs are compared, for a progress bar."""
        return self.scoring.text(value)

    def progress(self, score: Scored) -> str:
        """A score in training, for a progress bar: the loss, those recorded by name, and what is best, if measured."""
        said = [f"{self.scoring.label(name)} {getattr(score, name):.3f}" for name in self.scoring.losses]
        best = getattr(score, self.scoring.best)
        said += [] if self.scoring.best in ("loss", *self.scoring.losses) or math.isnan(best) else [self.text(best)]
        return ", ".join([f"loss {score.loss:.3f}", *said])

    def settings(self) -> dict[str, Any] | None:
        """What the settings of a run say of its task, ready for JSON; None for classification."""
        said = {"name": self.name, **self.scoring.settings()}
        return said if self.chosen is None else said | {"options": asdict(self.chosen)}


def count_of(targets: Any) -> int:
    """N, of how many images these are the targets."""
    if isinstance(targets, Mapping):
        return count_of(next(iter(targets.values())))
    return count_of(targets[0]) if isinstance(targets, tuple) else len(targets)


def select(targets: Any, part: slice) -> Any:
    """The targets of some of the images, in the same form."""
    if isinstance(targets, Mapping):
        return {key: select(value, part) for key, value in targets.items()}
    return tuple(select(value, part) for value in targets) if isinstance(targets, tuple) else targets[part]
