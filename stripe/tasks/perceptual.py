"""Perceptual losses: pictures compared by what a classifier sees in them.

Johnson et al. 2016 (arXiv 1603.08155), section 3.2, in the units of PyTorch's example ``fast_neural_style``. Any
classifier will do whose layers give maps (N, C, H, W): published ones, or one of ours.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stripe import checkpoint, models
from stripe.data.normalization import IMAGENET, Normalization
from stripe.errors import StripeError
from stripe.models.spec import ModelSpec
from stripe.names import did_you_mean

__all__ = ["DEFAULT", "Perceptual", "gram", "load_classifier", "square_error", "total_variation", "trunk"]

DEFAULT = "torchvision:vgg16"
"""The classifier of the paper and of PyTorch's example."""

RESOLUTIONS = 4
"""So many of the resolutions of a classifier are compared by default, from the finest."""


def gram(maps: Tensor) -> Tensor:
    """How the channels of maps go together: ``G = F Fᵀ / (C·H·W)``, F the maps as C rows of H·W numbers.

    Args:
        maps: (N, C, H, W).

    Returns:
        (N, C, C).
    """
    rows = maps.flatten(2)
    return rows @ rows.transpose(1, 2) / rows[0].numel()


def square_error(one: Tensor, other: Tensor) -> Tensor:
    """The mean of the squared differences, image by image: two of (N, …), or (1, …) → (N,)."""
    return (one - other).square().flatten(1).mean(1)


def total_variation(images: Tensor) -> Tensor:
    """The sum of the absolute differences of neighbours, down and right, for each of the numbers of an image.

    Args:
        images: (N, C, H, W).

    Returns:
        (N,).
    """
    down, right = images.diff(dim=2), images.diff(dim=3)
    return (down.abs().flatten(1).sum(1) + right.abs().flatten(1).sum(1)) / images[0].numel()


class Perceptual(nn.Module):
    """A classifier that is asked for the outputs of some of its layers, and never trained.

    Args:
        network: The classifier; it is put into evaluation mode, and its parameters need no gradient any more.
        layers: Names of its modules; None: those of ``trunk``.
        normalization: Mean and std of the images that it was trained with.
        image_size: Pixels of a side of an image that the network can be tried on, for ``trunk``.

    Raises:
        StripeError: There is no module of such a name.

    Example:
        >>> from stripe.models import build
        >>> seen = Perceptual(build("resnet20-basic"), ["layer1", "layer2"])
        >>> [tuple(maps.shape) for maps in seen(torch.rand(2, 3, 24, 24)).values()]
        [(2, 16, 24, 24), (2, 32, 12, 12)]
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str] | None = None,
        normalization: Normalization = IMAGENET,
        image_size: int = 64,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.layers = tuple(dict.fromkeys(layers or trunk(network, image_size)))
        names = [name for name, _ in network.named_modules()]
        if unknown := [name for name in self.layers if name not in names or not name]:
            raise StripeError(
                f"the {type(network).__name__} that is to compare pictures has no layer {unknown[0]!r}"
                f"{did_you_mean(unknown[0], names) or f'; it has {_few(names)}'}"
            )
        self.mean: Tensor
        self.std: Tensor
        for name, values in normalization.of_channels(3)._asdict().items():
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))

    def train(self, mode: bool = True) -> "Perceptual":
        """Nothing: it stays in evaluation mode."""
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The maps that the layers make of images.

        Args:
            images: (N, 3, H, W) in 0..1.

        Returns:
            Name of a layer → its output (N, C, H', W'), float32.

        Raises:
            StripeError: A layer gives no map, or the network does not run on images of this size.
        """
        found: dict[str, Tensor] = {}

        def keep(name: str, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4:
                raise StripeError(f"the layer {name!r} gives no maps (N, C, H, W), so that it cannot compare pictures")
            found[name] = output.float().clone()  # what follows may write into its output
            if len(found) == len(self.layers):
                raise _Enough

        handles = [
            self.network.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, name=name: keep(name, output)
            )
            for name in self.layers
        ]
        try:
            self.network((images - self.mean) / self.std)
        except _Enough:
            pass
        except StripeError:
            raise
        except Exception as error:  # anything may come out of somebody else's code
            raise StripeError(
                f"{type(self.network).__name__} does not run on images of {images.shape[-2]}×{images.shape[-1]} "
                f"pixels: {error}"
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        if missing := [name for name in self.layers if name not in found]:
            raise StripeError(f"the layer {missing[0]!r} did not run, so that it cannot compare pictures")
        return {name: found[name] for name in self.layers}


class _Enough(Exception):  # noqa: N818, for it is no error
    """What ends a forward pass: all layers that were asked for have run."""


def trunk(network: nn.Module, image_size: int = 64) -> tuple[str, ...]:
    """The last module of each of the first four resolutions of a classifier.

    Looked at are its children, and theirs where they are rows of modules. Of a VGG-16 these are the activations
    relu1_2, relu2_2, relu3_3 and relu4_3, as in PyTorch's example; of a ResNet the last blocks of its stages.

    Args:
        network: The classifier.
        image_size: Pixels of a side of the image that it is tried on.

    Raises:
        StripeError: None of them gives maps.
    """
    row = list(_row(network))
    sides: dict[str, int] = {}

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            sides[name] = output.shape[-1]

    handles = [
        module.register_forward_hook(lambda module, inputs, output, name=name: note(name, output))
        for name, module in row
    ]
    first = next(network.parameters(), torch.zeros(()))
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, image_size, image_size, device=first.device))
    except Exception as error:  # anything may come out of somebody else's code
        raise StripeError(
            f"{type(network).__name__} does not run on an image of {image_size} pixels ({error}); name its layers with "
            "style_layers="
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    last: dict[int, str] = {}
    for name, side in sides.items():
        if not last or side <= min(last):
            last[side] = name
    chosen = tuple(last[side] for side in sorted(last, reverse=True) if side > 1)[:RESOLUTIONS]
    if not chosen:
        raise StripeError(
            f"{type(network).__name__} has no layers with maps (N, C, H, W) one after the other; name its layers with "
            "style_layers="
        )
    return chosen


def load_classifier(spec: str | None, weights: str | None) -> tuple[nn.Module, Normalization, dict[str, Any]]:
    """A classifier with weights.

    Args:
        spec: Its name; None: that of the checkpoint, else ``torchvision:vgg16``.
        weights: A checkpoint; None: the published weights, which are downloaded.

    Returns:
        The classifier; mean and std of the images that it was trained with; and what it is, ready for JSON.

    Raises:
        StripeError: There is no such classifier, or no such weights.
    """
    if weights is None:
        spec = spec or DEFAULT
        if not spec.startswith(("torchvision:", "timm:")):
            raise StripeError(
                f"there are no published weights of {spec}, which is to compare pictures; give perceptual_ckpt="
            )
        try:
            network = models.build(spec, pretrained=True)
        except StripeError as error:
            reason = str(error).partition(";")[0]  # the rest is advice for who wants to train it
            raise StripeError(
                f"{reason}; give perceptual_ckpt=, a checkpoint of a classifier, and its name as perceptual="
            ) from error
        return network, Normalization(*models.native_normalization(spec)), {"model": spec, "weights": "published"}
    read = checkpoint.translate(checkpoint.read(Path(weights)))
    if spec is None and read.spec.model is None:
        raise StripeError(f"{weights} does not say which classifier it is of; name it with perceptual=")
    same = spec in (None, read.spec.model)
    plain = None if same else models.build(str(spec), num_classes=read.spec.num_classes)
    network = checkpoint.restore(read, plain)
    spec = spec or str(read.spec.model)
    return network, _normalization(spec, read.meta), {"model": spec, **_origin(read.meta)}


def _normalization(spec: str, meta: Mapping[str, Any]) -> Normalization:
    """Mean and std of the images of a checkpoint, else of the published weights, else of ImageNet."""
    if stated := ModelSpec.from_meta(meta).normalization:
        return Normalization(*stated)
    try:
        return Normalization(*models.native_normalization(spec))
    except StripeError:
        return IMAGENET


def _origin(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its training, as far as it matters to a reader of a picture."""
    return {key: meta[key] for key in ("data", "epoch", "scale") if meta.get(key) is not None}


def _row(network: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        found += _row(child, f"{prefix}{name}.") if isinstance(child, nn.Sequential) else [(f"{prefix}{name}", child)]
    return found


def _few(names: Sequence[str]) -> str:
    shown = [name for name in names if name and name.count(".") < 2]
    return ", ".join(shown[:8]) + (" …" if len(shown) > 8 else "")
