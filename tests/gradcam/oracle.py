"""Grad-CAM by its definition, to compare with."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def tokens(side: int, prefix: int) -> Callable[[Tensor], Tensor]:
    """Tokens (N, T, C) as a map."""
    return lambda values: values[:, prefix:].transpose(1, 2).reshape(len(values), -1, side, side)


def channels_last(values: Tensor) -> Tensor:
    return values.permute(0, 3, 1, 2)


def whole_graph(
    model: nn.Module,
    layer: str,
    images: Tensor,
    classes: Tensor | None = None,
    as_map: Callable[[Tensor], Tensor] = lambda values: values,
) -> Tensor:
    """One image at a time, autograd through the whole network, nothing cut."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what a later layer does in place is not to be seen

    maps = []
    with model.get_submodule(layer).register_forward_hook(keep):
        for index, image in enumerate(images):
            scores = model(image[None].clone().requires_grad_())[0]
            chosen = scores.argmax() if classes is None else classes[index]
            activation = kept[-1]
            (gradient,) = torch.autograd.grad(scores[chosen], activation)
            weights = as_map(gradient).mean((2, 3), keepdim=True)
            cam = F.relu((weights * as_map(activation)).sum(1, keepdim=True))
            cam = F.interpolate(cam, images.shape[-2:], mode="bilinear")[0, 0].detach()
            low, high = cam.min(), cam.max()
            maps.append((cam - low) / (high - low) if high > low else torch.zeros_like(cam))
    return torch.stack(maps)
