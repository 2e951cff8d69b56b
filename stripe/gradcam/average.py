"""Grad-CAM of a data set: mean and standard deviation of the maps, and two numbers per image for the centre bias."""

import tempfile
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor, nn

from stripe.adapter import Batch, batch_of, isolated
from stripe.capture.loader import Loader, count_images
from stripe.capture.thumbnails import thumbnails
from stripe.errors import StripeError
from stripe.gradcam.gradients import differentiable
from stripe.gradcam.layers import find_layer, name_of_layer
from stripe.gradcam.maps import GradCam
from stripe.moments import Moments
from stripe.progress import progress_bar

__all__ = ["Target", "distance_from_centre", "gradcam"]

Target = Literal["predicted", "label"] | int


@isolated()
def gradcam(
    model: nn.Module,
    loader: Loader,
    layer: str | nn.Module | None = None,
    *,
    target: Target = "predicted",
    classes: npt.ArrayLike | None = None,
    maps: bool = False,
    preprocess: Callable[[Tensor], Tensor] | None = None,
) -> xr.Dataset:
    """Average Grad-CAM over a loader's images (the Stripe Observation paper, fig. 6).

    The computation takes about as long as inference. Memory does not grow with the number of images, except for a few
    numbers per image; the maps of all images, if they are kept, lie in a temporary file.

    Args:
        model: Any classifier; it is not changed.
        loader: The images, all of one size, as a ``DataLoader``, a list of batches or a ``stripe.capture.Loader``.
        layer: A module of the model, or its name; by default the last stage (``stripe.gradcam.find_layer``).
        target: Class whose evidence the maps show: ``predicted``, ``label``, or the number of one class for all images.
        classes: Class of the network for each label, as an array (labels,), for the target ``label``; by default each
            label is a class of the network.
        maps: Whether to keep the map of every image.
        preprocess: Function that turns a batch from the loader, already on the model's device, into the model's input;
            by default it is not changed.

    Returns:
        A dataset with the variables

        - ``mean`` and ``std`` (height, width), float32: mean and population standard deviation over the maps of all
          images, each stretched to 0 … 1 at the size of the image. Maps that are zero everywhere count, too;
        - ``target``, ``label`` (image), int64: class of the map, and label of the image, −1 if it is unknown;
        - ``mass`` (image), float32: mean of the map over its positions, 0 if the map is zero everywhere;
        - ``moment`` (image), float32: mean of map × distance from the centre, divided by the mean distance, from which
          ``stripe.analysis.center_bias`` is computed;
        - ``mean_image`` (y, x, rgb), uint8: mean of the images, at most 64 pixels per side; absent if the inputs are
          not pictures;
        - ``map`` (image, height, width), float32: the maps of all images, if ``maps`` is True.

        Its attributes are ``layer``, ``target``, ``count`` (number of images) and ``empty`` (number of images whose map
        is zero everywhere).

    Raises:
        StripeError: There are no images, or images of different sizes; there is no such layer; a label is not a class;
            the network gives NaN; or ``stripe.gradcam.GradCam`` refuses the model.

    Example:
        >>> averages = gradcam(timm.create_model("resnet50", pretrained=True), loader)  # doctest: +SKIP
        >>> averages["mean"].plot.imshow()  # doctest: +SKIP
    """
    layer = None if layer is None else name_of_layer(model, layer)
    model = differentiable(model)
    numbers = None if classes is None else torch.from_numpy(np.asarray(classes, dtype=np.int64))
    first = batch_of(next(iter(loader), None), model).stacked()
    size = _size(first)
    device = next(model.parameters(), first.labels).device
    layer = layer or find_layer(model, first.first(2).on(model, preprocess))
    count = count_images(loader)
    moments = Moments(size, device)
    distance = torch.from_numpy(distance_from_centre(*size)).float().to(device)
    kept = _on_disk((count, *size)) if maps else None
    columns: list[npt.NDArray[np.float32]] = []
    labelled: list[npt.NDArray[np.int64]] = []
    pictures = np.zeros(())
    with GradCam(model, layer) as cam, progress_bar() as progress:
        task = progress.add_task("Grad-CAM", total=count, note=layer)
        for batch in loader:
            taken = batch_of(batch, model).stacked().beside(model)
            if not len(taken):
                continue
            labels = taken.labels
            assert isinstance(taken.images, Tensor)
            if _size(taken) != size:
                raise StripeError(f"The images have different sizes, such as {size} and {_size(taken)}.")
            if moments.count + len(taken) > count:
                raise StripeError(f"The loader gave more than the {count} images that it announced.")
            values, chosen = cam(taken.on(model, preprocess), _classes(target, labels, numbers))
            moments.add(values)
            mass, moment = values.mean((1, 2)), (values * distance).mean((1, 2))
            column = torch.stack([chosen.float(), mass, moment]).cpu().numpy()
            start = moments.count - len(taken)
            _check_finite(column, start)
            columns.append(column)
            labelled.append(labels.cpu().numpy())
            if (small := thumbnails(taken.images)) is not None:
                pictures = pictures + small.sum(0, dtype=torch.float64).numpy()
            if kept is not None:
                kept[start : moments.count] = values.cpu().numpy()
            progress.advance(task, len(taken))
    if moments.count != count:
        raise StripeError(f"The loader gave {moments.count} images, not the {count} that it announced.")
    classes_, masses, moments_ = np.concatenate(columns, axis=1)
    return xr.Dataset(
        {
            "mean": (("height", "width"), moments.mean.cpu().numpy()),
            "std": (("height", "width"), moments.std.cpu().numpy()),
            "target": ("image", classes_.astype(np.int64)),
            "label": ("image", np.concatenate(labelled)),
            "mass": ("image", masses),
            "moment": ("image", moments_),
            **(
                {"mean_image": (("y", "x", "rgb"), (pictures / count).round().astype(np.uint8))}
                if pictures.ndim
                else {}
            ),
            **({"map": (("image", "height", "width"), kept)} if kept is not None else {}),
        },
        attrs={
            "layer": layer,
            "target": target if isinstance(target, str) else f"class {target}",
            "count": count,
            "empty": int((masses == 0).sum()),
        },
    )


def distance_from_centre(height: int, width: int) -> npt.NDArray[np.float64]:
    """The distance of every pixel's middle from the middle of the image, divided by its mean: (height, width)."""
    y, x = np.ogrid[:height, :width]
    distance: npt.NDArray[np.float64] = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    distance /= distance.mean()
    return distance


def _size(batch: Batch) -> tuple[int, ...]:
    """Height and width of the images of a batch."""
    assert isinstance(batch.images, Tensor)
    return tuple(batch.images.shape[-2:])


def _classes(target: Target, labels: Tensor, numbers: Tensor | None) -> Tensor | int | None:
    """The classes of a batch whose evidence the maps show."""
    if isinstance(target, int):
        return target
    if target == "predicted":
        return None
    if target != "label":
        raise StripeError(f"The target is {target!r}; it must be predicted, label or the number of a class.")
    if (labels < 0).any():
        raise StripeError("The loader gives no labels: take the predicted class, or one class for all, as the target.")
    return labels if numbers is None else numbers[labels]


def _check_finite(column: npt.NDArray[np.float32], start: int) -> None:
    """Refuse the maps of a network that gives NaN; checked here because the values are on the CPU."""
    bad = np.flatnonzero(~np.isfinite(column).all(0))
    if len(bad):
        raise StripeError(
            f"The network gives NaN or infinite values for {len(bad)} of {column.shape[1]} images of a batch, first "
            f"for image {start + bad[0]}. Its weights may be damaged, or its training diverged."
        )


def _on_disk(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Make an array in a temporary file, which is deleted with the array."""
    try:
        with tempfile.TemporaryFile(prefix="stripe-gradcam-") as file:
            return np.memmap(file, np.float32, "w+", shape=shape)
    except OSError as error:
        needed = 4 * int(np.prod(shape, dtype=np.int64)) / 1e6
        raise StripeError(f"The {shape[0]} maps need {needed:,.0f} MB for a while: {error.strerror}.") from error
