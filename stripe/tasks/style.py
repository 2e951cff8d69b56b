"""Style transfer: a network that gives any image the style of one picture, in a single pass.

Johnson et al. 2016 (arXiv 1603.08155), as PyTorch's example ``fast_neural_style``. With the image x, what the network
makes of it y, the picture s, and the maps φ_l of the layers of a classifier:

- content: w_c · mean (φ_c(y) − φ_c(x))²
- style: w_s · Σ_l mean (G(φ_l(y)) − G(φ_l(s)))², G the Gram matrix of ``stripe.tasks.perceptual.gram``
- total variation: w_tv · the mean absolute difference of neighbours, of y in 0..1
"""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.transforms.v2.functional import resize

from stripe.adapter import Batch, batch_of
from stripe.data import Data, Split, choose_images
from stripe.data.base import Batches, Share
from stripe.data.crops import mix
from stripe.data.paintings import draw_painting
from stripe.data.pictures import read_picture, write_picture
from stripe.errors import StripeError
from stripe.files import write_whole
from stripe.models.style import stylize
from stripe.tasks.base import Place, Task
from stripe.tasks.options import StyleOptions
from stripe.tasks.perceptual import Perceptual, gram, load_classifier, square_error, total_variation
from stripe.tasks.registry import register
from stripe.tasks.scoring import Scoring

__all__ = ["Losses", "StyleTransfer", "Styled", "read_style"]

PICTURES = "pictures/last.npz"
"""What was made of held-out images after the last epoch, in the run directory."""

THUMBNAIL = 96
"""Pixels of the shorter side of the picture of the style in there."""


class Losses(NamedTuple):
    """How well a network transfers a style; each but ``loss`` is a mean over the images, times its factor.

    Attributes:
        loss: The sum of the three.
        content: How far what the classifier sees of the content has changed.
        style: How far the Gram matrices are from those of the picture.
        tv: Total variation.
    """

    loss: float
    content: float
    style: float
    tv: float


class Styled(NamedTuple):
    """What a network made of a batch.

    Attributes:
        images: In 0..1 where it is a picture, (N, 3, H, W), float32.
        losses: Name → the loss of each image, times its factor, (N,).
    """

    images: Tensor
    losses: Mapping[str, Tensor]


@register
class StyleTransfer(Task):
    """Give images the style of a picture.

    Args:
        options: See ``StyleOptions``.

    Raises:
        StripeError: The picture cannot be read.
    """

    name: ClassVar[str] = "style"
    options: ClassVar[type | None] = StyleOptions
    scoring: Scoring = Scoring(
        ("loss", "content", "style", "tv"),
        best="loss",
        higher_is_better=False,
        losses=("content", "style", "tv"),
        labels={"content": "content loss", "style": "style loss", "tv": "total variation"},
    )
    chosen: StyleOptions

    def __init__(self, options: StyleOptions | None = None) -> None:
        super().__init__(options)
        self.picture = read_style(self.chosen.style, self.chosen.style_size)
        self._perceptual: Perceptual | None = None
        self._content: Perceptual | None = None
        self._origin: dict[str, Any] = {}
        self._grams: dict[str, Tensor] = {}
        self._frozen = False
        self._shown = torch.zeros(0)
        self._data: Data | None = None

    @classmethod
    def of_data(cls, data: Data, options: Any = None) -> Self:
        """The task on some images, whose classes are not looked at.

        Raises:
            StripeError: The images have sizes of their own, or the picture cannot be read.
        """
        if data.image_size is None:
            raise StripeError(
                f"the images of {data.spec} have sizes of their own, and this needs batches of one size; give "
                "image_size="
            )
        return cls(options)

    def outputs(self, data: Data) -> int:
        """Red, green and blue."""
        return 3

    def prepare(self, model: nn.Module, data: Data, compute: Place) -> None:
        """Load the classifier, measure the picture, and choose the held-out images that are drawn.

        Raises:
            StripeError: There is no such classifier or layer, or statistics are to be frozen where there are none.
        """
        chosen = self.chosen
        if chosen.freeze_norm is not None and not _norms(model):
            raise StripeError(
                f"freeze_norm={chosen.freeze_norm}: this {type(model).__name__} has no batch normalisation whose "
                "statistics could be frozen"
            )
        network, normalization, self._origin = load_classifier(chosen.perceptual, chosen.perceptual_ckpt)
        seen = Perceptual(network, chosen.style_layers, normalization)
        self.style_layers = seen.layers
        self.content_layer = chosen.content_layer or seen.layers[min(1, len(seen.layers) - 1)]
        perceptual = Perceptual(network, [*seen.layers, self.content_layer], normalization)
        self._content = Perceptual(network, [self.content_layer], normalization)
        compute.place(perceptual)
        compute.place(self._content)
        with torch.no_grad():
            maps = perceptual(self.picture[None].to(compute.device, torch.float32) / 255)
        self._perceptual = perceptual
        self._grams = {name: gram(maps[name]) for name in self.style_layers}
        self._mean, self._std = (torch.tensor(v, device=compute.device).view(-1, 1, 1) for v in data.normalization)
        self._data = data
        test = self.needed(data).test
        if count := min(chosen.pictures, len(test)):
            indices = choose_images(test.labels, count, seed=0)
            self._shown, _ = self.collate(*next(iter(test.loader(count, indices=indices, workers=0))))

    def needed(self, data: Data) -> Data:
        """The images alone."""
        return data.with_annotations(())

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
        """Shuffled images as they are, scaled and their centres cut out: as in PyTorch's example there are no crops."""
        self._frozen = self.chosen.freeze_norm is not None and epoch > self.chosen.freeze_norm
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(mix(seed, epoch, 0))).numpy()
        order = order[:images_per_epoch]
        return split.loader(batch_size, indices=order, workers=workers, share=share)

    def collate(self, images: Any, labels: Any) -> tuple[Any, Any]:
        """Images as one tensor: data with annotations gives them as a list, though all are of one size here."""
        return (images if isinstance(images, Tensor) else torch.stack(images)), labels

    def forward(self, model: nn.Module, batch: Batch, targets: Any) -> Styled:
        """What the network makes of the images, and the losses of each.

        Raises:
            StripeError: The network gives no images of the same size.
        """
        if self._perceptual is None or self._content is None:
            raise StripeError("the task has not been prepared; call its method prepare before the first batch")
        if self._frozen and model.training:
            for norm in _norms(model):
                norm.eval()
        content = batch.inputs.clone()  # the network may change its input
        made = super().forward(model, batch, targets)
        if not isinstance(made, Tensor) or made.shape != content.shape:
            raise StripeError(
                f"{type(model).__name__} gives no image of the same size for an image, as style transfer needs it; "
                "the network for it is called style"
            )
        images, before = (value.float() * self._std + self._mean for value in (made, content))
        maps = self._perceptual(images)
        with torch.no_grad():
            target = self._content(before)[self.content_layer]
        losses = {
            "content": self.chosen.content_weight * square_error(maps[self.content_layer], target),
            "style": self.chosen.style_weight
            * torch.stack([square_error(gram(maps[name]), self._grams[name]) for name in self.style_layers]).sum(0),
            "tv": self.chosen.tv_weight * total_variation(images),
        }
        return Styled(images, losses)

    def losses(self, output: Styled, targets: Any) -> Mapping[str, Tensor]:
        """Content, style and total variation."""
        return {name: values.mean() for name, values in output.losses.items()}

    def sums(self, output: Styled, targets: Any, *, training: bool) -> Tensor:
        """Nothing: the losses are all there is to know."""
        return output.images.new_zeros(0)

    def score(self, loss: float, sums: Sequence[float], images: int) -> Losses:
        """See ``Losses``."""
        return Losses(loss, *sums)

    def after_epoch(self, model: nn.Module, epoch: int, folder: Path) -> None:
        """Draw held-out images, and what the network makes of them.

        ``pictures/epoch-0001.png`` shows the images above and what was made of them below. ``pictures/last.npz`` holds
        the same of the last epoch as arrays, with the picture of the style and the losses of each, for
        ``stripe.plots.transfer``.
        """
        if not len(self._shown) or self._data is None:
            return
        made = stylize(model, self._shown, self._data.normalization)
        sheet = torch.cat([torch.cat(list(row), dim=2) for row in (self._shown, made)], dim=1)
        write_picture(folder / "pictures" / f"epoch-{epoch:04d}.png", sheet)
        inputs = self._data.normalize(self._shown.to(self._mean.device))
        with torch.no_grad():
            losses = self.forward(model, batch_of(inputs, model), None).losses
        thumbnail = _scaled(self.picture, min(THUMBNAIL, *self.picture.shape[1:]))[None]
        pixels = {"style": thumbnail, "content": self._shown, "made": made}
        arrays: dict[str, Any] = {name: images.permute(0, 2, 3, 1).numpy() for name, images in pixels.items()}
        arrays |= {f"{name}_loss": losses[name].cpu().numpy() for name in ("content", "style")}
        content = io.BytesIO()
        np.savez_compressed(content, epoch=np.array(epoch), **arrays)
        write_whole(folder / PICTURES, content.getvalue())

    def settings(self) -> dict[str, Any]:
        """What a run is of: also the bytes of the picture, and which classifier with which layers compared."""
        said = super().settings() or {}
        said["picture_sha256"] = hashlib.sha256(self.picture.numpy().tobytes()).hexdigest()
        if self._perceptual is not None:
            layers = {"content_layer": self.content_layer, "style_layers": list(self.style_layers)}
            said["perceptual"] = {**self._origin, **layers}
        return said


def read_style(name: str, size: int | None = None) -> Tensor:
    """The picture of a style.

    Args:
        name: An image file, or ``drawn:NAME`` or ``drawn:NAME:SEED``, see ``stripe.data.paintings``.
        size: Pixels of the shorter side that it is scaled to; None: as it is, 256 of a drawn one.

    Returns:
        uint8 (3, H, W).

    Raises:
        StripeError: There is no such picture, or it cannot be read.
    """
    if drawn := re.fullmatch(r"drawn:([^:]*)(?::(\d{1,9}))?", name):
        return draw_painting(drawn[1], seed=int(drawn[2] or 0), **({"size": size} if size else {}))
    picture = read_picture(Path(name).expanduser())[:3]
    return _scaled(picture, size) if size else picture


def _scaled(picture: Tensor, size: int) -> Tensor:
    """A picture (3, H, W) whose shorter side has so many pixels."""
    shorter = min(picture.shape[1:])
    height, width = (max(1, round(side * size / shorter)) for side in picture.shape[1:])
    scaled: Tensor = resize(picture, [height, width], antialias=True)
    return scaled


def _norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
