"""The task by which a command scores a network, with the network's outputs for the classes of the data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stripe.checkpoint import Checkpoint
    from stripe.cli.resolve import Resolved
    from stripe.tasks import Task
    from stripe.training import Compute

__all__ = ["batch_size_for", "scoring_task"]

BATCH_SIZE = 128
OF_LARGE_IMAGES = 8
"""Images a batch of detectors and segmenters, whose images are larger and differ in size."""


def batch_size_for(model: str, given: int | None) -> int:
    """Images per batch: as given, or what fits the network of that name."""
    from stripe.models import task_of

    return given or (OF_LARGE_IMAGES if task_of(model) in ("detection", "segmentation") else BATCH_SIZE)


def scoring_task(
    resolved: "Resolved", checkpoint: "Checkpoint | None", compute: "Compute", *, pretrained: bool
) -> "Task":
    """The task that a checkpoint says, else the one that the network's name says; prepared for the network and data.

    A detector or segmenter is told which of its outputs each class of the data is: by the names of both, or in order
    where nobody says the network's and there are as many.

    Args:
        resolved: Model, already placed and with its weights, and data.
        checkpoint: Checkpoint of the weights.
        compute: Device and precision.
        pretrained: Whether the weights are published ones.

    Raises:
        StripeError: The data is not for this task, or its classes are no classes of the network.
    """
    from stripe.models import task_of
    from stripe.tasks import Detection, Segmentation, named, recorded

    settings = checkpoint.meta.get("task") if checkpoint else None
    by_name = task_of(resolved.attrs["model"])
    if settings is None and by_name in ("detection", "segmentation"):
        task = named(by_name, resolved.data)
    else:
        task = recorded(settings, resolved.data)
    # First, for classes that the network does not know are no matter of how many outputs it should be trained with.
    positions = _positions(resolved, checkpoint, pretrained) if isinstance(task, Detection | Segmentation) else None
    task.prepare(resolved.model, resolved.data, compute)
    if isinstance(task, Detection | Segmentation):
        task.positions = positions
    return task


def _positions(resolved: "Resolved", checkpoint: "Checkpoint | None", pretrained: bool) -> list[int] | None:
    """The output of each class of the data; None where they follow the background in order."""
    from stripe.cli.classes import some
    from stripe.errors import StripeError
    from stripe.models import outputs_of
    from stripe.models.classes import positions_of

    classes, spec = resolved.data.classes, resolved.data.spec
    outputs = outputs_of(resolved.model)
    if outputs is None:
        return None
    names = _names(resolved.attrs["model"], outputs, checkpoint, pretrained)
    if names is None:
        if outputs == len(classes) + 1:
            return None
        raise StripeError(
            f"The network tells {outputs - 1} classes and the background apart, and the checkpoint does not name them; "
            f"the classes of {spec} are {some(classes)}: take data of the network's classes."
        )
    positions = positions_of(classes, names)
    if positions is None:
        known = [each[0] for each in names[1:]]
        raise StripeError(
            f"The classes of {spec} are {some(classes)}, and the network's are {some(known)}: take data whose classes "
            "are all among them, or name them alike."
        )
    return None if list(positions) == list(range(1, len(classes) + 1)) else [int(each) for each in positions]


def _names(model: str, outputs: int, checkpoint: "Checkpoint | None", pretrained: bool) -> Any:
    """All names of each output, the background first; None where nobody says them."""
    from stripe.models.classes import published_classes

    told = checkpoint.meta.get("classes") if checkpoint else None
    if isinstance(told, list) and len(told) == outputs - 1 and all(isinstance(name, str) for name in told):
        return [["__background__"], *([name] for name in told)]
    # Somebody else's weights with as many outputs as the published ones are taken to be these, or made from them.
    if told is None and (pretrained or checkpoint) and model.startswith("torchvision:"):
        published = published_classes(model)
        return published if published and len(published) == outputs else None
    return None
