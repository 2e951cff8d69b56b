"""The one way in which networks are called: batches of any form in, outputs of any form out.

Loaders give tensors, pairs, lists of images of different sizes or dictionaries; networks give logits, tuples,
dictionaries or dataclasses. Everything that runs a network that it has never seen does it through this module, so that
each form is understood in one place, no mode of the caller's leaks into the network, and the caller's tensors stay as
they are.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from stripe.errors import StripeError

__all__ = [
    "Batch",
    "batch_of",
    "call",
    "check_weights",
    "class_scores",
    "copy_model",
    "eager",
    "explained",
    "isolated",
    "logits_of",
    "ours",
    "run",
    "tensors_in",
    "tensors_of",
]

P = ParamSpec("P")
R = TypeVar("R")
Network = TypeVar("Network", bound=nn.Module)

# Names of the entry of a dictionary that holds the images, and of the one that holds their classes.
IMAGE_KEYS = ("pixel_values", "image", "images", "img", "imgs", "inputs", "input", "x", "data", "video", "pixels")
LABEL_KEYS = ("labels", "label", "targets", "target", "y", "class", "classes", "fine_label")
# Names of the entry or attribute of an output that holds the logits.
LOGIT_KEYS = ("logits", "out", "output", "scores", "pred", "predictions", "head", "main")

_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Batch:
    """Images as a network takes them, and their classes.

    Attributes:
        inputs: What the network is called with: a tensor (N, …), a list of N tensors (images of different sizes), or a
            dictionary of keyword arguments.
        images: The images among them, (N, …) or a list of N tensors.
        labels: (N,) int64, −1 where an image has no class or something other than one number.
    """

    inputs: Any
    images: Tensor | list[Tensor]
    labels: Tensor

    def __len__(self) -> int:
        """N, the number of images."""
        return len(self.images)

    @property
    def shape(self) -> str:
        """The form of the images in words, for messages."""
        if isinstance(self.images, Tensor):
            return f"a batch of images of shape {_size(self.images)} ({self.images.dtype})"
        return f"a list of {len(self.images)} images, the first of shape {_size(self.images[0])}"

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The same batch with a function applied to the images."""
        if isinstance(self.images, Tensor):
            images: Tensor | list[Tensor] = function(self.images)
        else:
            images = [function(image[None])[0] for image in self.images]
        if isinstance(self.inputs, Mapping):
            inputs = {key: images if value is self.images else value for key, value in self.inputs.items()}
            return replace(self, inputs=inputs, images=images)
        return replace(self, inputs=images, images=images)

    def stacked(self) -> "Batch":
        """The same batch with a list of images as one tensor, as classifiers take them.

        Raises:
            StripeError: They are of different sizes.
        """
        if isinstance(self.images, Tensor):
            return self
        if len({image.shape for image in self.images}) > 1:
            sizes = ", ".join(dict.fromkeys(_size(image) for image in self.images))
            raise StripeError(
                f"The images of a batch have different sizes ({sizes}), and a classifier takes them in one tensor: "
                "scale or crop them to one size, or give batches of one image."
            )
        images = torch.stack(self.images)
        if isinstance(self.inputs, Mapping):
            inputs = {key: images if value is self.images else value for key, value in self.inputs.items()}
            return replace(self, inputs=inputs, images=images)
        return replace(self, inputs=images, images=images)

    def first(self, count: int) -> "Batch":
        """The first images alone."""

        def part(value: Any) -> Any:
            return value[:count] if isinstance(value, Tensor | list) and len(value) == len(self) else value

        images = self.images[:count]
        if isinstance(self.inputs, Mapping):
            inputs = {key: images if value is self.images else part(value) for key, value in self.inputs.items()}
            return Batch(inputs, images, self.labels[:count])
        return Batch(images, images, self.labels[:count])

    def beside(self, model: nn.Module) -> "Batch":
        """The same batch on the device of a network."""
        parameter = next(model.parameters(), None)

        def move(value: Any) -> Any:
            if isinstance(value, Tensor) and value.is_inference() and not torch.is_inference_mode_enabled():
                value = value.clone()  # which gradients can be asked of
            if parameter is None or not isinstance(value, Tensor):
                return value
            return value.to(parameter.device, non_blocking=True)

        return self._with(move)

    def on(self, model: nn.Module, preprocess: Callable[[Tensor], Tensor] | None = None) -> "Batch":
        """The same batch on the device of a network and in the precision of its weights.

        Args:
            model: The network.
            preprocess: Turns images (N, …), already on the device, into what the network takes. None: no change.

        Raises:
            StripeError: The images are no floating-point numbers.
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

    def _with(self, function: Callable[[Any], Any]) -> "Batch":
        """The same batch with a function applied to each of its inputs."""
        images: Any = tree_map(function, self.images)
        if isinstance(self.inputs, Mapping):
            inputs = {
                key: images if value is self.images else tree_map(function, value) for key, value in self.inputs.items()
            }
            return replace(self, inputs=inputs, images=images)
        return replace(self, inputs=images, images=images)


def batch_of(item: Any, model: nn.Module | None = None) -> Batch:
    """Take what a loader gives apart.

    Understood are a tensor of images; a tuple or list that begins with images, which labels may follow; a list of
    images of different sizes, alone or followed by anything (detection); a dictionary with images, and perhaps labels,
    under their usual names.

    Args:
        item: What a loader gives, or a `Batch`, which stays as it is.
        model: The network, by whose arguments it is decided how a dictionary is handed over: entries that its
            ``forward`` names are given by name, images of another name are given as its first argument.

    Raises:
        StripeError: It is none of these.
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
        # A loss that a network computes of labels by itself is nothing that we look at.
        if name in accepted and name not in LABEL_KEYS
    }
    return Batch(inputs, images, _labels(labels, len(images)))


def _arguments(model: nn.Module | None) -> set[str]:
    """Names of the arguments of a network's ``forward``."""
    if model is None:
        return set()
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _are_images(value: Any) -> bool:
    """Whether it is a list of images, each (C, H, W)."""
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
    """One class an image as (N,) int64; −1 for everything else."""
    if isinstance(value, tuple | list) and all(_is_number(label) for label in value):
        value = torch.tensor([int(label) for label in value], dtype=torch.int64)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iub":
        value = torch.from_numpy(value.astype(np.int64))
    if isinstance(value, Tensor) and value.shape in ((count,), (count, 1)) and not value.is_complex():
        classes = value.detach().reshape(count).long()
        if torch.equal(classes.to(value.dtype), value.detach().reshape(count)):  # 0.0 and 1.0 are, 0.7 is no class
            return classes
    return torch.full((count,), -1)


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" else value


def _kind(item: Any) -> str:
    if isinstance(item, tuple | list):
        inside = ", ".join(type(entry).__name__ for entry in item[:3])
        return f"a {type(item).__name__} of {inside or 'nothing'}"
    return f"{type(item).__name__}"


@contextmanager
def isolated() -> Iterator[None]:
    """Within, no inference mode and no autocast of the caller's are in force; a network's own are.

    Whether gradients are computed is for whoever runs the network to say.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            gradients = torch.is_grad_enabled()
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.set_grad_enabled(gradients))  # which leaving that mode switches on
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def eager() -> AbstractContextManager[Any]:
    """Within, ``torch.compile`` compiles nothing: hooks and modes see what runs in Python."""
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def tensors_in(inputs: Any) -> list[Tensor]:
    """The tensors of any nesting of lists, tuples and dictionaries."""
    return [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]


def ours(function: Callable[P, R]) -> Callable[P, R]:
    """Mark what a hook of ours raises, so that `run` does not blame the network for it."""

    @wraps(function)
    def marked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            error.raised_by_stripe = True  # type: ignore[attr-defined]
            raise

    return marked


def run(model: nn.Module, batch: Batch) -> Any:
    """Call a network with copies of a batch's inputs, which it may change, in no mode of the caller's.

    Args:
        model: The network, or whatever stands for it when it is called.
        batch: The batch, on its device and in its precision, see `Batch.on`.

    Returns:
        What the network returns.

    Raises:
        StripeError: The network raises something; the message has its words.

    Example:
        >>> import torch
        >>> run(torch.nn.Conv2d(3, 8, 3), batch_of(torch.rand(2, 3, 8, 8))).shape
        torch.Size([2, 8, 6, 6])
    """
    with isolated(), explained(model, batch):
        try:
            return call(model, _cloned(batch.inputs))
        except (TypeError, AttributeError) as error:
            # Most networks take no list; where the images have one size they can be given as one tensor.
            if getattr(error, "raised_by_stripe", False) or not isinstance(batch.inputs, list):
                raise
            if len({image.shape for image in batch.inputs}) > 1:
                raise StripeError(
                    f"{type(model).__name__} takes no list of images, and these have different sizes, such as "
                    f"{_size(batch.inputs[0])} and {_size(batch.inputs[-1])}. Give images of one size."
                ) from error
            return call(model, torch.stack(batch.inputs))


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a network with the inputs of a batch, by name where they are a dictionary."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def _cloned(inputs: Any) -> Any:
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, inputs)


@contextmanager
def explained(model: nn.Module, batch: Batch) -> Iterator[None]:
    """Whatever a network raises within becomes a sentence with its words; what a hook of ours raises is left alone.

    Raises:
        StripeError: The network raised something.
    """
    try:
        yield
    except StripeError:
        raise
    except Exception as error:  # anything may come out of somebody else's code
        if getattr(error, "raised_by_stripe", False):
            raise
        hint = "; take smaller batches" if isinstance(error, torch.OutOfMemoryError) else ""
        raise StripeError(
            f"{type(model).__name__} does not run on {batch.shape}: {type(error).__name__}: {error}{hint}"
        ) from error


def logits_of(output: Any) -> Tensor | None:
    """The tensor of a network's output that holds its scores, None where there is none.

    A tensor is that itself; of a dictionary, a dataclass or a named tuple it is the entry ``logits``, ``out``,
    ``output`` …, of these and of plain tuples the first tensor otherwise.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        entries = dict(output)
    elif is_dataclass(output) and not isinstance(output, type):
        entries = {field.name: getattr(output, field.name) for field in fields(output)}
    elif hasattr(output, "_asdict"):
        entries = output._asdict()
    elif isinstance(output, tuple | list):
        entries = dict(enumerate(output))
    else:
        entries = {key: getattr(output, key) for key in LOGIT_KEYS if isinstance(getattr(output, key, None), Tensor)}
    for key in LOGIT_KEYS:
        if isinstance(entries.get(key), Tensor):
            return entries[key]  # type: ignore[no-any-return]
    return next((found for entry in entries.values() if (found := logits_of(entry)) is not None), None)


def tensors_of(output: Any) -> list[Tensor]:
    """All tensors in a network's output, whatever holds them."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif is_dataclass(output) and not isinstance(output, type):
        parts = [getattr(output, field.name) for field in fields(output)]
    elif isinstance(output, tuple | list | set | frozenset):
        parts = list(output)
    else:
        parts = list(getattr(output, "__dict__", {}).values())
    return [tensor for part in parts for tensor in tensors_of(part)]


def class_scores(output: Any, count: int) -> Tensor:
    """The scores of a classifier, a column for each class.

    One logit l an image is a yes/no classifier: its columns are (−l/2, l/2), of which the softmax is (1 − σ(l), σ(l)).
    So class 1 is predicted where l > 0, and the cross-entropy is the usual binary one.

    Args:
        output: What the network returned.
        count: N, the number of images.

    Returns:
        (N, K) with K ≥ 2.

    Raises:
        StripeError: It holds no scores of N images.
    """
    scores = logits_of(output)
    if scores is not None and scores.ndim == 1 and len(scores) == count:
        scores = scores[:, None]
    if scores is not None and scores.ndim == 2 and len(scores) == count and scores.is_floating_point():
        return torch.cat([-scores / 2, scores / 2], 1) if scores.shape[1] == 1 else scores
    given = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    if isinstance(scores, Tensor) and not isinstance(output, Tensor):
        given += f" in which a tensor of shape {tuple(scores.shape)} could be meant"
    if scores is not None and not scores.is_floating_point():
        given += f" of {scores.dtype}"
    raise StripeError(
        f"a classifier gives scores of shape (images, classes); for {count} images this model gives {given}. "
        "Wrap it in a module that returns the scores alone"
    )


def check_weights(model: nn.Module) -> None:
    """See to it that the weights of a network have values.

    Raises:
        StripeError: They are on the meta device, or are made only when the network runs for the first time.
    """
    if not isinstance(model, nn.Module):
        raise StripeError(f"a {type(model).__name__} is no network; give a torch.nn.Module")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise StripeError(f"{name} has no shape before the network has run once; call it on a batch, and train it")
        if tensor.is_meta:
            raise StripeError(f"{name} is on the meta device, which holds no values; load the weights first")


def copy_model(model: Network) -> Network:
    """A deep copy of a network; what cannot be copied in it (a lock, an open file) is shared with the copy.

    Raises:
        StripeError: Not even that copies it.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:  # anything may refuse to be copied in its own way
        reason = error
    shared = {}
    for module in model.modules():
        for name, value in vars(module).items():
            if name in ("_parameters", "_buffers", "_modules"):
                continue
            try:
                copy.deepcopy(value)
            except Exception:
                # A container is the copy's own (its hooks are), what is in it is shared.
                shared[id(value)] = copy.copy(value) if isinstance(value, dict | list | set) else value
    try:
        return copy.deepcopy(model, shared)
    except Exception:
        raise StripeError(
            f"{type(model).__name__} cannot be copied ({type(reason).__name__}: {reason}), and the network itself is "
            "not changed. Give it a __deepcopy__, or build it anew and load its weights"
        ) from reason


def _size(value: Any) -> str:
    return "×".join(map(str, value.shape)) if isinstance(value, Tensor) else type(value).__name__
