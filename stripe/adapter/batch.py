"""Batches of any form: the inputs of a network, and the images and labels among them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from stripe.errors import StripeError

__all__ = ["Batch", "batch_of", "size_of", "tensors_in"]


# Keys under which a dictionary may hold the images, and their labels.
IMAGE_KEYS = ("pixel_values", "image", "images", "img", "imgs", "inputs", "input", "x", "data", "video", "pixels")
LABEL_KEYS = ("labels", "label", "targets", "target", "y", "class", "classes", "fine_label")
# Keys or attributes under which an output may hold the logits.
_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Batch:
    """Images in the form that a network takes, and their labels.

    Attributes:
        inputs: Inputs of the network: a tensor (N, …), a list of N tensors (images of different sizes), or a dictionary
            of keyword arguments.
        images: Images among the inputs: a tensor (N, …) or a list of N tensors.
        labels: Classes of the images, of shape (N,) and type int64; −1 if an image has no class, or a label that is
            not a single number.
    """

    inputs: Any
    images: Tensor | list[Tensor]
    labels: Tensor

    def __len__(self) -> int:
        """The number of images N."""
        return len(self.images)

    @property
    def shape(self) -> str:
        """Shape of the images in words, for messages."""
        if isinstance(self.images, Tensor):
            return f"a batch of images of shape {size_of(self.images)} ({self.images.dtype})"
        return f"a list of {len(self.images)} images, the first of shape {size_of(self.images[0])}"

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with a function applied to its images."""
        if isinstance(self.images, Tensor):
            images: Tensor | list[Tensor] = function(self.images)
        else:
            images = [function(image[None])[0] for image in self.images]
        return self.replaced(images)

    def stacked(self) -> "Batch":
        """Return the batch with a list of images stacked into one tensor, as classifiers take them.

        Raises:
            StripeError: The images have different sizes.
        """
        if isinstance(self.images, Tensor):
            return self
        if len({image.shape for image in self.images}) > 1:
            sizes = ", ".join(dict.fromkeys(size_of(image) for image in self.images))
            raise StripeError(
                f"The images of a batch have different sizes ({sizes}), and are wanted in one tensor here: "
                "scale or crop them to one size, or give batches of one image."
            )
        return self.replaced(torch.stack(self.images))

    def first(self, count: int) -> "Batch":
        """Return a batch of the first ``count`` images."""

        def part(value: Any) -> Any:
            return value[:count] if isinstance(value, Tensor | list) and len(value) == len(self) else value

        return replace(self.replaced(self.images[:count], part), labels=self.labels[:count])

    def beside(self, model: nn.Module) -> "Batch":
        """Return the batch on the device of a network."""
        parameter = next(model.parameters(), None)

        def move(value: Any) -> Any:
            if isinstance(value, Tensor) and value.is_inference() and not torch.is_inference_mode_enabled():
                value = value.clone()  # which gradients can be asked of
            if parameter is None or not isinstance(value, Tensor):
                return value
            return value.to(parameter.device, non_blocking=True)

        return self._with(move)

    def on(self, model: nn.Module, preprocess: Callable[[Tensor], Tensor] | None = None) -> "Batch":
        """Return the batch on the device of a network and in the precision of its weights.

        Args:
            model: The network.
            preprocess: Function that turns images (N, …), already on the device, into the input of the network; by
                default they are not changed.

        Raises:
            StripeError: The images are not floating-point numbers.
        """
        precision = next((p.dtype for p in model.parameters() if p.dtype in _PRECISIONS), None)

        def convert(value: Any) -> Any:
            cast = precision is not None and isinstance(value, Tensor) and value.is_floating_point()
            return value.to(precision) if cast else value

        moved = self.beside(model)
        if preprocess is not None:
            moved = moved.map(preprocess)
            if not isinstance(moved.images, Tensor | list) or len(moved) != len(self):
                given = f"{len(moved)} images" if isinstance(moved.images, Tensor) else type(moved.images).__name__
                raise StripeError(
                    f"preprocess= must give as many images as it is given: of {len(self)} it makes {given}."
                )
        for image in [moved.images] if isinstance(moved.images, Tensor) else moved.images:
            if not image.is_floating_point():
                raise StripeError(
                    f"The images are {image.dtype} and a network takes floating-point numbers: give preprocess=, such "
                    "as lambda images: images / 255."
                )
        return moved._with(convert)

    def replaced(self, images: Tensor | list[Tensor], others: Callable[[Any], Any] = lambda value: value) -> "Batch":
        """Return the batch with other images, and with a function applied to all its other inputs."""
        if not isinstance(self.inputs, Mapping):
            return replace(self, inputs=images, images=images)
        inputs = {key: images if value is self.images else others(value) for key, value in self.inputs.items()}
        return replace(self, inputs=inputs, images=images)

    def _with(self, function: Callable[[Any], Any]) -> "Batch":
        """Return the batch with a function applied to each of its tensors."""
        images: Any = tree_map(function, self.images)
        return self.replaced(images, lambda value: tree_map(function, value))


def batch_of(item: Any, model: nn.Module | None = None) -> Batch:
    """Make a batch from an item of a loader.

    An item may be a tensor of images; a tuple or list that begins with images, which labels may follow; a list of
    images of different sizes, alone or followed by anything (as in detection); or a dictionary with images, and perhaps
    labels, under their usual names.

    Args:
        item: Item of a loader, or a ``Batch``, which is returned unchanged.
        model: The network that a dictionary is meant for. Entries that its ``forward`` has as arguments are passed by
            name; images of another name are passed as its first argument.

    Raises:
        StripeError: The item has none of these forms.
    """
    if item is None:
        raise StripeError("The loader gives no images.")
    if isinstance(item, Batch):
        return item
    if isinstance(item, Mapping):
        return _of_mapping(item, model)
    if isinstance(item, np.ndarray | Tensor):
        images: Any = item
        rest: Sequence[Any] = ()
    elif _are_images(item) and len(item) > 1:
        images, rest = item, ()
    elif isinstance(item, Sequence) and not isinstance(item, str | bytes) and len(item):
        images, rest = item[0], item[1:]
        if isinstance(images, Mapping):
            return _of_mapping(images, model, rest[0] if rest else None)
    else:
        images, rest = None, ()
    if isinstance(images, np.ndarray):
        images = _tensor(images)
    if isinstance(images, tuple | list) and _are_images(images):
        images = [_tensor(image) for image in images]
    if not (isinstance(images, Tensor) and images.ndim > 1) and not (isinstance(images, list) and images):
        raise StripeError(
            f"The loader gives {_kind(item)}; it must give images, (images, labels), a list of images, or a dictionary "
            f"with an entry such as {IMAGE_KEYS[0]!r}."
        )
    return Batch(images, images, _labels(rest[0] if rest else None, len(images)))


def _of_mapping(item: Mapping[str, Any], model: nn.Module | None, labels: Any = None) -> Batch:
    def is_images(value: Any) -> bool:
        return (isinstance(value, Tensor | np.ndarray) and value.ndim > 2) or _are_images(value)

    named = [key for key in IMAGE_KEYS if key in item and is_images(item[key])]
    found = named or [key for key, value in item.items() if is_images(value)]
    if not named and len(found) > 1:
        raise StripeError(
            f"The loader gives dictionaries in which {', '.join(map(str, found))} could all be the images; name one of "
            f"them {IMAGE_KEYS[0]!r}."
        )
    if not found:
        raise StripeError(
            f"The loader gives dictionaries of {', '.join(map(str, item)) or 'nothing'}; none of these holds images. "
            f"Name the images {IMAGE_KEYS[0]!r}."
        )
    key, value = found[0], item[found[0]]
    images = [_tensor(image) for image in value] if isinstance(value, tuple | list) else _tensor(value)
    if labels is None:
        labels = next((item[name] for name in LABEL_KEYS if name in item), None)
    accepted = _arguments(model)
    if key not in accepted:
        return Batch(images, images, _labels(labels, len(images)))
    inputs = {
        name: images if name == key else tree_map(_tensor, entry)
        for name, entry in item.items()
        # Labels are not passed on: a network would compute a loss from them, which nobody uses.
        if name in accepted and name not in LABEL_KEYS
    }
    return Batch(inputs, images, _labels(labels, len(images)))


def _arguments(model: nn.Module | None) -> set[str]:
    """The names of the arguments of a network's ``forward``."""
    if model is None:
        return set()
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _are_images(value: Any) -> bool:
    """Whether a value is a list of images, each (C, H, W)."""
    return (
        isinstance(value, tuple | list)
        and len(value) > 0
        and all(isinstance(image, Tensor | np.ndarray) and image.ndim == 3 for image in value)
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0 and not value.is_floating_point() and not value.is_complex()
    return isinstance(value, int | np.integer)


def _labels(value: Any, count: int) -> Tensor:
    """Labels as one class per image, of shape (N,) and type int64; −1 for anything else."""
    if isinstance(value, tuple | list) and all(_is_number(label) for label in value):
        value = torch.tensor([int(label) for label in value], dtype=torch.int64)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iub":
        value = torch.from_numpy(value.astype(np.int64))
    if isinstance(value, Tensor) and value.shape in ((count,), (count, 1)) and not value.is_complex():
        classes = value.detach().reshape(count).long()
        if torch.equal(classes.to(value.dtype), value.detach().reshape(count)):  # 0.0 and 1.0 are classes, 0.7 is not
            return classes
    return torch.full((count,), -1)


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" else value


def _kind(item: Any) -> str:
    if isinstance(item, tuple | list):
        inside = ", ".join(type(entry).__name__ for entry in item[:3])
        return f"a {type(item).__name__} of {inside or 'nothing'}"
    return f"{type(item).__name__}"


def tensors_in(inputs: Any) -> list[Tensor]:
    """Collect the tensors in any nesting of lists, tuples and dictionaries."""
    return [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]


def size_of(value: Any) -> str:
    """Describe a tensor by its shape, as 2×3×8×8, and anything else by its type."""
    return "×".join(map(str, value.shape)) if isinstance(value, Tensor) else type(value).__name__
