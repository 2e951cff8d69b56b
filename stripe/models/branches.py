"""Structural re-parameterization of the backbone itself: branches that are added up become one convolution.

RepVGG (Ding et al., CVPR 2021, https://arxiv.org/abs/2101.03697, section 3.3) in timm's version, and ACNet in ours.
Both name the method that does it ``reparameterize``.
"""

import torch
from torch import nn

from stripe.errors import StripeError

__all__ = ["fuse_block", "fuse_branches", "is_branched"]


def is_branched(module: nn.Module) -> bool:
    """Whether a module is a block of branches that can become one convolution, and has not yet."""
    return callable(getattr(module, "reparameterize", None)) and getattr(module, "reparam_conv", module) is None


def fuse_block(block: nn.Module) -> None:
    """Make one convolution of a block's branches, in place; it computes what they compute in evaluation mode.

    Computed in float64 and rounded once, so that outputs differ by no more than the rounding of a convolution. What is
    in the block besides the branches, as attention after their sum, stays. Values that parametrizations (ASR) give to
    the branches' layers are taken as they are.

    Args:
        block: See ``is_branched``.

    Raises:
        StripeError: It is no such block.
    """
    if not is_branched(block):
        raise StripeError(f"{type(block).__name__} has no branches that could be fused")
    weight = next(block.parameters())
    device, dtype, training = weight.device, weight.dtype, block.training
    block.double()
    with torch.no_grad():
        block.reparameterize()  # type: ignore[operator]
    block.__dict__.pop("id_tensor", None)  # timm keeps the identity's kernel, as large as all weights
    block.to(device, dtype).train(training)


def fuse_branches(model: nn.Module) -> list[str]:
    """Fuse all blocks of branches of a network, in place.

    Args:
        model: Any network; RepVGG of timm and our ResNet-ACNet have such blocks.

    Returns:
        Names of the blocks; none where the network has no branches (any more).

    Example:
        >>> from stripe.models import build
        >>> len(fuse_branches(build("resnet20-acnet")))
        19
    """
    blocks = [(name, module) for name, module in model.named_modules() if is_branched(module)]
    for _, block in blocks:
        fuse_block(block)
    return [name for name, _ in blocks]
