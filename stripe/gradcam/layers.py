"""Choice of the layer for Grad-CAM: the last one with parameters whose output still has positions."""

import difflib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from stripe.adapter import Batch, batch_of, class_scores, explained, isolated, run
from stripe.capture.unwrap import unwrap
from stripe.errors import StripeError
from stripe.gradcam.gradients import differentiable, frozen
from stripe.gradcam.grid import grid_of
from stripe.modes import evaluating

__all__ = ["candidates", "find_layer", "get_layer", "name_of_layer", "prefix_tokens"]


@dataclass(frozen=True)
class Candidate:
    """A module with parameters whose output is a map over the image.

    Attributes:
        name: Path of the module in the model.
        matters: Whether the score of the predicted class has a gradient at any of its positions.
    """

    name: str
    matters: bool


def find_layer(model: nn.Module, images: Tensor | Batch) -> str:
    """Find the default layer of Grad-CAM, the output of the last stage.

    This is the last module to finish that has parameters, whose output is a map or tokens, and at whose positions the
    score of the predicted class has a gradient. The last condition excludes the modules after the last attention of a
    vision transformer, where only the class token counts; the queries, keys and values of that attention are excluded,
    too. The result is ``layer4`` for a ResNet, ``features`` for torchvision's VGG and EfficientNet, ``norm`` for a Swin
    Transformer, and ``blocks.11.norm1`` for timm's ViT.

    Args:
        model: A classifier; it is not changed.
        images: Images (N, 3, H, W), as the model takes them, or a batch of another form; two are enough.

    Returns:
        The name of the layer.

    Raises:
        StripeError: There is no such layer, or the model does not run.
    """
    model = differentiable(model)
    found = candidates(model, images)
    for candidate in reversed(found):
        if candidate.matters:
            return candidate.name
    kind = type(model).__name__
    if found:
        raise StripeError(
            f"The scores of {kind} have no gradient at any layer, as before training, where the classifier's weights "
            "are zero. Load trained weights; or name a layer with layer=, such as "
            f"{', '.join(c.name for c in found[-6:])}."
        )
    raise StripeError(
        f"No layer of {kind} gives a map of more than one position, so that Grad-CAM has nowhere to look. Larger "
        "images have more positions; or name a layer with layer=. The model has: "
        f"{', '.join([name for name, _ in model.named_children()][:6])}."
    )


def get_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the module of a model with the given name.

    Raises:
        StripeError: There is no such module; the message has similar names.
    """
    modules: dict[str, nn.Module] = {path: module for path, module in model.named_modules() if path}
    if name not in modules:
        close = difflib.get_close_matches(name, modules, n=5, cutoff=0.3) or list(modules)[-5:]
        raise StripeError(f"{type(model).__name__} has no layer {name!r}. Close to it: {', '.join(close)}.")
    return modules[name]


def name_of_layer(model: nn.Module, layer: str | nn.Module) -> str:
    """Return the name of a layer that is given by its name or as the module itself.

    Raises:
        StripeError: The module is none of the model's.
    """
    if isinstance(layer, str):
        return layer
    modules: dict[str, nn.Module] = dict(unwrap(model).named_modules())
    for name, module in modules.items():
        if module is layer and name:
            return name
    raise StripeError(
        f"The layer, a {type(layer).__name__}, is no module inside of {type(model).__name__}: give layer= the name of "
        "one or the module itself."
    )


@isolated()
def candidates(model: nn.Module, images: Tensor | Batch) -> list[Candidate]:
    """Return the modules among which ``find_layer`` chooses, in the order in which they finish."""
    batch = batch_of(images, model).stacked().on(model)
    outputs: dict[str, Tensor] = {}
    order: dict[str, None] = {}
    forward = True

    def keep(name: str, _module: nn.Module, _args: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or not output.is_floating_point() or len(output) != len(batch):
            return
        if forward:
            order.pop(name, None)  # a module that runs twice is ordered by its last call
            order[name] = None
            outputs.pop(name, None)
        # With gradient checkpointing a layer runs again in the backward pass, and may be seen only then.
        if output.requires_grad and name not in outputs:
            output.retain_grad()
            outputs[name] = output

    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(frozen(model))
        for name, module in model.named_modules():
            # Tokens of a linear layer are a step inside a block, not the output of a stage.
            if name and next(module.parameters(), None) is not None and not isinstance(module, nn.Linear):
                stack.enter_context(module.register_forward_hook(partial(keep, name)))
        output = run(model, batch.map(lambda images: images.detach().clone().requires_grad_()))
        scores = class_scores(output, len(batch))
        forward = False
        if not scores.requires_grad:
            return []
        with explained(model, batch):
            scores.amax(1).sum().backward()  # type: ignore[no-untyped-call]
    assert isinstance(batch.images, Tensor)
    prefix, size = prefix_tokens(model), (batch.images.shape[-2], batch.images.shape[-1])
    found = []
    for name, output in ((name, outputs[name]) for name in order if name in outputs):
        if grid := grid_of(tuple(output.shape), size, prefix):
            matters = output.grad is not None and bool(grid(output.grad).any())
            found.append(Candidate(name, matters))
    return found


def prefix_tokens(model: nn.Module) -> int | None:
    """The number of tokens before those of the image, if the model has an attribute for it as timm's have."""
    said = getattr(model, "num_prefix_tokens", None)
    return said if isinstance(said, int) else None
