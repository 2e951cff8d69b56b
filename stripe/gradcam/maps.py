"""Grad-CAM of one batch, for which only the layers after the chosen one are differentiated."""

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
from stripe.gradcam.layers import get_layer, name_of_layer, prefix_tokens
from stripe.modes import evaluating

__all__ = ["GradCam", "Maps"]

# A map that varies by less than this share of its maximum is flat: the rest is rounding.
FLAT = 1e-6


class Maps(NamedTuple):
    """Grad-CAM maps of a batch.

    Attributes:
        values: Maps (N, H, W) of type float32 at the size of the images, each stretched to 0 … 1. A map is zero
            everywhere if no evidence speaks for the class, and NaN if scores or features are not finite.
        classes: Class of each map, of shape (N,) and type int64.
    """

    values: Tensor
    classes: Tensor


class GradCam:
    r"""A context that computes the Grad-CAM maps of one batch at a time.

    .. math:: L = \mathrm{ReLU}\Bigl(\sum_k \alpha_k A_k\Bigr), \quad
        \alpha_k = \frac1{hw} \sum_{ij} \frac{\partial y_c}{\partial A_{kij}}

    with ``A`` (K, h, w) the output of a layer and ``y_c`` the score of the class (Selvaraju et al., eq. 1 and
    2), enlarged bilinearly to the size of the image and stretched from 0 to 1, image by image.

    The layer's output is detached, so that the layers before it run without a graph, and only those after it are
    differentiated, for the whole batch at once. This needs evaluation mode, in which images do not influence each
    other. Tokens are arranged as a map, without those before the image's (such as a class token).

    When the context is left, modes, hooks, gradients and ``requires_grad`` of the model are restored.

    Args:
        model: A classifier.
        layer: The layer, by its name, for example from ``stripe.gradcam.find_layer``, or as a module of the model.

    Raises:
        StripeError: There is no such layer.

    Example:
        >>> with GradCam(model, find_layer(model, images)) as cam:  # doctest: +SKIP
        ...     maps, classes = cam(images)
    """

    def __init__(self, model: nn.Module, layer: str | nn.Module) -> None:
        self.layer = name_of_layer(model, layer)
        self.model = differentiable(model)
        self._module = get_layer(self.model, self.layer)
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
        """Compute the maps of a batch.

        Args:
            images: Images (N, 3, H, W), as the model takes them, or a batch of another form.
            classes: Classes whose evidence the maps show, as a tensor (N,) of type int64 or one class for all images;
                by default the predicted classes.

        Raises:
            StripeError: The model does not run, is not a classifier or has no such class; or the layer gives no map,
                does not run, or has no influence on the scores.
        """
        batch = batch_of(images, self.model).stacked().on(self.model)
        pixels = batch.images
        assert isinstance(pixels, Tensor)
        with torch.enable_grad():
            scores, activation = self._run(batch.map(Tensor.detach))
            if not scores.requires_grad:  # gradient checkpointing may need inputs that require gradients
                scores, activation = self._run(batch.map(lambda images: images.detach().clone().requires_grad_()))
            chosen = _classes(classes, scores)
            score = scores.gather(1, chosen[:, None]).sum()
            if score.requires_grad:
                with explained(self.model, batch):
                    score.backward()  # type: ignore[no-untyped-call]
        # With gradient checkpointing the layer has run once more, and the gradient belongs to that run.
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
        """Hook that replaces the output of the layer by a leaf, whose gradient is needed."""
        self._output = output
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return output
        self._output = output.detach().requires_grad_()
        with torch.enable_grad():
            return self._output.clone()  # the next layer may change its input in place

    def _run(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run the model; return the scores (N, classes) and the output of the layer."""
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
    """Enlarge maps from the size of the layer to that of the images, and stretch each to 0 … 1."""
    flat = coarse.amax((1, 2)) - coarse.amin((1, 2)) <= FLAT * coarse.amax((1, 2))
    fine = F.interpolate(coarse[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    low, high = fine.amin((1, 2), keepdim=True), fine.amax((1, 2), keepdim=True)
    return ((fine - low) / (high - low)).masked_fill(flat[:, None, None], 0.0)
