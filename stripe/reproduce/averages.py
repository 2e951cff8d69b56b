"""Averages of Grad-CAM over test images, made once for each run."""

from dataclasses import replace
from pathlib import Path

from stripe import checkpoint, models
from stripe.capture import Epoch
from stripe.data import choose_images
from stripe.devices import pick_device
from stripe.gradcam import gradcam, save
from stripe.reproduce.cache import Planned, Sources

__all__ = ["averages"]


def averages(planned: Planned, sources: Sources, count: int, *, device: str | None = None) -> Path:
    """Average Grad-CAM over test images for the predicted class, once; the maps are kept in the run's directory.

    Args:
        planned: A finished run; the maps are those of its last weights, or of the published ones.
        sources: Where the run's data comes from.
        count: Number of images; all where there are fewer.
        device: Device to compute on.

    Returns:
        The file of the maps, ``gradcam-<images>.h5``.

    Raises:
        StripeError: The data is not there, a checkpoint is damaged, or the network has no last stage.
    """
    path = planned.path / f"gradcam-{count}.h5"
    if path.exists():
        return path
    request, data = planned.request, sources.load(planned.request)
    if request.recipe is None:
        model = models.build(request.model, attention=request.attention, pretrained=True)
        mean, std = models.native_normalization(request.model)
        data, epoch, weights = replace(data, mean=mean, std=std), Epoch(0), "published"
        scale = "published weights"
    else:
        last = planned.run.checkpoints[-1]
        model = checkpoint.restore(checkpoint.read(last))
        epoch, weights = Epoch.of_file(request.epochs, last), "checkpoints"
        scale = planned.run.scale
    chosen = choose_images(data.test.labels, min(count, len(data.test)), request.seed)
    averaged = gradcam(model.to(pick_device(device)), data.test.loader(64, indices=chosen), preprocess=data.normalize)
    about = {"model": request.model, "attention": request.attention, "data": data.spec, "classes": list(data.classes)}
    return save(
        averaged,
        path,
        attrs={**about, "weights": weights, "split": "test", "seed": request.seed, "scale": scale},
        epoch=epoch,
        paths=[data.test.paths[index] for index in chosen],
    )
