"""Comparison of the labels of a data set with the classes of a network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stripe.errors import StripeError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from stripe.checkpoint import Checkpoint
    from stripe.cli.resolve import Resolved

__all__ = ["Classes", "NoClassifierError", "Relabelled", "compare_classes", "some"]


class NoClassifierError(StripeError):
    """The network returns something other than scores of classes."""


@dataclass(frozen=True)
class Classes:
    """Relation between the classes of a data set and those of a network.

    Attributes:
        positions: Class of the network for each label, as an array (labels,); None if the labels are not its classes.
        same: Whether each label is equal to its class of the network.
        reason: Why the labels are not classes of the network.
        names: Names of the network's classes; empty if they are unknown.
    """

    positions: "npt.NDArray[np.int64] | None"
    same: bool = False
    reason: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relabelled:
    """Batches of a split whose labels are replaced by the network's classes.

    Attributes:
        batches: Batches from the loader of a split.
        classes: Relation between the labels and the network's classes.
    """

    batches: Any
    classes: Classes

    def __iter__(self) -> "Iterator[tuple[Tensor, Tensor]]":
        """Yield images and labels."""
        import torch

        for images, labels in self.batches:
            yield images, labels if self.classes.same else torch.from_numpy(self.classes.positions)[labels]

    def __len__(self) -> int:
        """The number of batches."""
        return len(self.batches)


def compare_classes(resolved: "Resolved", checkpoint: "Checkpoint | None", names: dict[str, Any]) -> Classes:
    """Compare the names of the classes if both are known, else the numbers of classes.

    Args:
        resolved: Model and data.
        checkpoint: Checkpoint of the model's weights, whose description may name the classes.
        names: Options from which the model was resolved.

    Raises:
        StripeError: The model does not run on the images of the data.
        NoClassifierError: It is not a classifier.
    """
    import numpy as np

    from stripe.models.classes import positions_of

    classes, outputs = resolved.data.classes, _outputs(resolved)
    known = _known(resolved.attrs["model"], outputs, checkpoint, pretrained=names["pretrained"])
    if known:
        own = tuple(each[0] for each in known)
        positions = positions_of(classes, known)
        if positions is not None and positions.max() < outputs:
            return Classes(positions, bool((positions == np.arange(len(classes))).all()), names=own)
        return Classes(None, reason=f"the network's are {some(own)}, the data's are {some(classes)}", names=own)
    if outputs == len(classes):
        return Classes(np.arange(outputs), same=True)
    return Classes(None, reason=f"the network tells {outputs} classes apart, the data's are {some(classes)}")


def _known(model: str, outputs: int, checkpoint: "Checkpoint | None", *, pretrained: bool) -> Any:
    """All names of each class of the network; None if they are unknown."""
    from stripe.models.classes import published_classes

    told = checkpoint.meta.get("classes") if checkpoint else None
    if checkpoint and not (isinstance(told, list) and told and all(isinstance(name, str) for name in told)):
        return None
    published = published_classes(model) if (told or pretrained) and len(told or ()) in (0, outputs) else None
    if told:
        # The description of a folded network has the first name of each class of the original weights.
        return published if published and [each[0] for each in published] == told else [[name] for name in told]
    return published if published and len(published) == outputs else None


def _outputs(resolved: "Resolved") -> int:
    """The number of classes of the network; two if it has one logit."""
    import torch

    from stripe.adapter import batch_of, class_scores, run
    from stripe.modes import evaluating

    model, data = resolved.model, resolved.data
    split = data.test if len(data.test) else data.train
    images, _ = next(iter(split.loader(2, indices=range(min(2, len(split))), workers=0)))
    batch = batch_of(data.normalize(images), model).on(model)
    with evaluating(model), torch.no_grad():
        output = run(model, batch)
    try:
        return class_scores(output, len(batch)).shape[1]
    except StripeError as error:
        raise NoClassifierError(str(error)) from error


def some(names: Any) -> str:
    """Write the number of names and the first of them, as ``3 (a, b, c)``."""
    shown = [*names[:4], "…"] if len(names) > 5 else names
    return f"{len(names)} ({', '.join(shown)})" if names else "none"
