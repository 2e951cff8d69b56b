"""Average Grad-CAM of a run's network, made once and kept in the run's directory."""

from dataclasses import replace
from pathlib import Path

from stripe import checkpoint, models
from stripe.capture import Epoch
from stripe.data import choose_images
from stripe.devices import pick_device
from stripe.gradcam import gradcam, save
from stripe.reproduce.cache import Planned
from stripe.reproduce.sources import Sources

__all__ = ["averages"]


def averages(planned: Planned, sources: Sources, count: int, *, device: str | None = None) -> Path:
    """Where the network of a run looks, on the average over test images, for the class that it predicts.

    Args:
        planned: A finished run; its last weights are looked at, or the published ones.
        sources: Where its data comes from.
        count: Images; all where there are fewer.
        device: Where to compute.

    Returns:
        The file, ``gradcam-<images>.h5`` in the run's directory.

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
