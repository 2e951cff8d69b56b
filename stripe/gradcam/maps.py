"""Grad-CAM of one batch: everything before the layer without a graph, only the tail differentiated."""

from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stripe.adapter import Batch, batch_of, class_scores, explained, isolated, ours, run
from stripe.errors import StripeError
from stripe.gradcam.gradients import differentiable, frozen
from stripe.gradcam.grid import grid_of
from stripe.gradcam.layers import get_layer, prefix_tokens
from stripe.modes import evaluating

__all__ = ["GradCam", "Maps"]

# A map that varies by less than this share of its height is flat: what is left is rounding.
FLAT = 1e-6


class Maps(NamedTuple):
    """Grad-CAM of a batch.

    Attributes:
        values: (N, H, W) float32 at the size of the images, each from 0 to 1; all zero where nothing speaks for the
            class, NaN where the network's scores or maps are not finite.
        classes: (N) int64, the class of each map.
    """

    values: Tensor
    classes: Tensor


class GradCam:
    r"""Grad-CAM maps, a batch at a time, for a loop of your own.

    .. math:: L = \mathrm{ReLU}\Bigl(\sum_k \alpha_k A_k\Bigr), \quad
        \alpha_k = \frac1{hw} \sum_{ij} \frac{\partial y_c}{\partial A_{kij}}

    with :math:`A` (K, h, w) the output of a layer and :math:`y_c` the score of the class (Selvaraju et al., eq. 1 and
    2), enlarged bilinearly to the size of the image and stretched from 0 to 1, image by image.

    The layer's output is cut off from what comes before it, so that this runs without a graph, and only the layers
    after it are differentiated, for the whole batch at once. That needs evaluation mode, in which images don't
    influence each other. Tokens are laid out as a map, those before the image's (class token) dropped.

    The model is as before after leaving the context: modes, hooks, gradients and which parameters ask for them.

    Args:
        model: A classifier.
        layer: Name of the layer, as [find_layer][stripe.gradcam.find_layer] gives it.

    Raises:
        StripeError: There is no such layer.

    Example:
        >>> with GradCam(model, find_layer(model, images)) as cam:  # doctest: +SKIP
        ...     maps, classes = cam(images)
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        self.model, self.layer = differentiable(model), layer
        self._module = get_layer(self.model, layer)
        self._prefix = prefix_tokens(self.model)
        self._output: Any = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(evaluating(self.model))
            stack.enter_context(frozen(self.model))
            stack.enter_context(self._module.register_forward_hook(self._cut))
            self._entered = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered.close()

    @isolated()
    def __call__(self, images: Tensor | Batch, classes: Tensor | int | None = None) -> Maps:
        """Maps of a batch.

        Args:
            images: (N, 3, H, W), as the model takes them, or a batch of another form.
            classes: Whose evidence is looked for: (N) int64, or one class for all. Default: the predicted ones.

        Raises:
            StripeError: The model does not run, is no classifier, has no such class, or the layer gives no map, does
                not run, or has no influence on the scores.
        """
        batch = batch_of(images, self.model).stacked().on(self.model)
        pixels = batch.images
        assert isinstance(pixels, Tensor)
        with torch.enable_grad():
            scores, activation = self._run(batch.map(Tensor.detach))
            if not scores.requires_grad:  # a checkpoint of gradients may want its inputs to ask for them
                scores, activation = self._run(batch.map(lambda images: images.detach().clone().requires_grad_()))
            chosen = _classes(classes, scores)
            score = scores.gather(1, chosen[:, None]).sum()
            if score.requires_grad:
                with explained(self.model, batch):
                    score.backward()  # type: ignore[no-untyped-call]
        # Where it is checkpointed, the layer has run once more, and that is what the gradient is of.
        again, self._output = self._output, None
        gradient = activation.grad if activation.grad is not None or again is None else again.grad
        if gradient is None:
            raise StripeError(f"The scores don't depend on the output of {self.layer}; name another layer.")
        grid = grid_of(tuple(activation.shape), (pixels.shape[-2], pixels.shape[-1]), self._prefix)
        if grid is None or len(activation) != len(pixels):
            shape = "×".join(map(str, activation.shape))
            raise StripeError(f"The output of {self.layer} ({shape}) is no map over the image; name another layer.")
        with torch.no_grad():
            weights = grid(gradient).float().mean((2, 3))
            coarse = torch.einsum("nk,nkhw->nhw", weights, grid(activation).float()).relu()
            coarse = coarse.where(scores.isfinite().all(1)[:, None, None], torch.nan)
            return Maps(_stretched(coarse, pixels), chosen)

    @ours
    def _cut(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        """Hook: what follows the layer is computed from a leaf, whose gradient is asked for."""
        self._output = output
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return output
        self._output = output.detach().requires_grad_()
        with torch.enable_grad():
            return self._output.clone()  # which the next layer may change in place

    def _run(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores (N, classes), and the layer's output."""
        self._output = None
        scores = class_scores(run(self.model, batch), len(batch))
        return scores, self._activation()

    def _activation(self) -> Tensor:
        output, self._output = self._output, None
        if output is None:
            raise StripeError(f"The layer {self.layer} does not run in the forward pass; name another one.")
        if not isinstance(output, Tensor) or not output.requires_grad:
            raise StripeError(f"The layer {self.layer} gives {type(output).__name__}, not a map; name another one.")
        return output


def _classes(wanted: Tensor | int | None, scores: Tensor) -> Tensor:
    if wanted is None:
        return scores.detach().argmax(1)
    count = scores.shape[1]
    classes = torch.as_tensor(wanted).long()
    wrong = classes[(classes < 0) | (classes >= count)]
    if len(wrong.reshape(-1)):
        raise StripeError(f"There is no class {int(wrong.reshape(-1)[0])}: the model tells {count} apart, from 0.")
    return classes.to(scores.device).expand(len(scores))


def _stretched(coarse: Tensor, images: Tensor) -> Tensor:
    """From the layer's size to that of the images, then each from 0 to 1."""
    flat = coarse.amax((1, 2)) - coarse.amin((1, 2)) <= FLAT * coarse.amax((1, 2))
    fine = F.interpolate(coarse[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    low, high = fine.amin((1, 2), keepdim=True), fine.amax((1, 2), keepdim=True)
    return ((fine - low) / (high - low)).masked_fill(flat[:, None, None], 0.0)
