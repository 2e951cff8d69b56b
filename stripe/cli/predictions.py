"""What the network of a checkpoint finds in the test images of some data, as pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stripe.data import ImageSize
    from stripe.plots.predictions import CheckpointPictures

__all__ = ["predict"]


def predict(
    path: Path,
    model_spec: str | None,
    data_spec: str | None,
    image_size: "ImageSize | None",
    count: int,
) -> "CheckpointPictures":
    """Draw what a detector or segmenter finds.

    Args:
        path: The checkpoint.
        model_spec: Name of the model; None: the checkpoint says it.
        data_spec: Name of the data; None: what it was trained on.
        image_size: Size of the images; None: that of the training, or of the data.
        count: How many images are drawn.

    Raises:
        StripeError: The network is no detector or segmenter, or the data does not fit it.
    """
    from stripe import checkpoint as checkpoints
    from stripe.cli.resolve import resolve
    from stripe.cli.tasks import scoring_task
    from stripe.devices import pick_device
    from stripe.errors import StripeError
    from stripe.models import task_of
    from stripe.plots.predictions import CheckpointPictures
    from stripe.tasks import Detection, Segmentation
    from stripe.training import Compute

    read = checkpoints.translate(checkpoints.read(path))
    name = model_spec or read.spec.model
    if name is not None and task_of(name) not in ("detection", "segmentation"):
        raise StripeError(f"{path} is of {name}; predictions are drawn of detectors and segmenters.")
    if data_spec is None and "data" not in read.meta:
        raise StripeError(f"Name the data with --data: {path} does not say what it was trained on.")
    open_names: dict[str, Any] = dict.fromkeys(("attention", "num_classes", "data_root", "normalize", "channels"))
    resolved = resolve(
        checkpoint=read,
        model_spec=model_spec,
        data_spec=data_spec,
        image_size=image_size,
        pretrained=False,
        model_args=(),
        download=False,
        seed=0,
        **open_names,
    )
    compute = Compute.on(pick_device(None))
    checkpoints.load_into(resolved.model, read)
    model = compute.place(resolved.model).eval()
    try:
        task = scoring_task(resolved, read, compute, pretrained=False)
    except StripeError as error:
        raise StripeError(f"{path}: {error}") from error
    if not isinstance(task, Detection | Segmentation):
        raise StripeError(f"{path} was trained for {task.name}; predictions are drawn of detectors and segmenters.")
    arrays: dict[str, Any] = dict(task.pictures(model, resolved.data, count))
    epoch = read.meta.get("epoch")
    settings = {key: read.meta.get(key) for key in ("attention", "asr", "noise", "seed")}
    settings |= {
        "model": resolved.attrs["model"],
        "data": resolved.data.spec,
        "task": task.settings(),
        "file": str(path),
    }
    trained = str(read.meta.get("scale") or "")
    return CheckpointPictures(path, settings, trained, arrays | ({} if epoch is None else {"epoch": epoch}))
