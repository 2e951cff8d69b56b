"""Which layer to look at: the last one that has learned something and still has positions."""

import difflib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from stripe.adapter import Batch, batch_of, class_scores, explained, isolated, run
from stripe.errors import StripeError
from stripe.gradcam.gradients import differentiable, frozen
from stripe.gradcam.grid import grid_of
from stripe.modes import evaluating

__all__ = ["candidates", "find_layer", "get_layer", "prefix_tokens"]


@dataclass(frozen=True)
class Candidate:
    """A module with parameters whose output lies over the image.

    Attributes:
        name: Its path in the model.
        matters: Whether the predicted class's score has a gradient at any of its positions.
    """

    name: str
    matters: bool


def find_layer(model: nn.Module, images: Tensor | Batch) -> str:
    """The name of the layer that Grad-CAM is taken at where nobody names one: the last stage's output.

    That is the last module to finish that has parameters, gives a map or tokens, and at whose positions the score of
    the predicted class has a gradient. The latter passes over what comes after a vision transformer's last attention,
    where the class token alone counts; the queries, keys and values of that attention are passed over as well. So it
    is ``layer4`` of a ResNet, ``features`` of torchvision's VGG and EfficientNet, ``norm`` of a Swin Transformer,
    ``blocks.11.norm1`` of timm's ViT.

    Args:
        model: A classifier; left as it was.
        images: (N, 3, H, W), as the model takes them, or a batch of another form; two are enough.

    Raises:
        StripeError: There is none, or the model does not run.
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
            "are zero. Load trained weights; or name a layer (--layer on the command line), such as "
            f"{', '.join(c.name for c in found[-6:])}."
        )
    raise StripeError(
        f"No layer of {kind} gives a map of more than one position, so that Grad-CAM has nowhere to look. Larger "
        "images have more positions; or name a layer (--layer on the command line). The model has: "
        f"{', '.join([name for name, _ in model.named_children()][:6])}."
    )


def get_layer(model: nn.Module, name: str) -> nn.Module:
    """The module of that name.

    Raises:
        StripeError: There is none; says what comes close.
    """
    modules: dict[str, nn.Module] = {path: module for path, module in model.named_modules() if path}
    if name not in modules:
        close = difflib.get_close_matches(name, modules, n=5, cutoff=0.3) or list(modules)[-5:]
        raise StripeError(f"{type(model).__name__} has no layer {name!r}. Close to it: {', '.join(close)}.")
    return modules[name]


@isolated()
def candidates(model: nn.Module, images: Tensor | Batch) -> list[Candidate]:
    """The modules among which one is chosen, in the order in which they finish."""
    batch = batch_of(images, model).stacked().on(model)
    outputs: dict[str, Tensor] = {}
    order: dict[str, None] = {}
    forward = True

    def keep(name: str, _module: nn.Module, _args: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or not output.is_floating_point() or len(output) != len(batch):
            return
        if forward:
            order.pop(name, None)  # what runs twice counts where it runs last
            order[name] = None
            outputs.pop(name, None)
        # Where gradients are checkpointed, a layer runs again in the backward pass, and may be seen only then.
        if output.requires_grad and name not in outputs:
            output.retain_grad()
            outputs[name] = output

    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(frozen(model))
        for name, module in model.named_modules():
            # Tokens of a linear layer are a step inside a block, and no stage's output.
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
    """How many tokens come before those of the image, where a model says so as timm's do."""
    said = getattr(model, "num_prefix_tokens", None)
    return said if isinstance(said, int) else None
