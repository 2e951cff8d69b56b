"""Attention modules one after the other, as in SPSA-SE of the SPSA paper's table 1."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stripe.attention.base import Attention, ChainedAttention
from stripe.errors import StripeError

__all__ = ["Combination"]


class Combination(Attention):
    """Each module weighs what those before it have weighed: ``y = x ⊙ v₁(x) ⊙ v₂(x ⊙ v₁(x)) …``.

    It multiplies once for each module, so each is an attention site of its own.

    Args:
        parts: The modules, in their order.

    Example:
        >>> import torch
        >>> from stripe.attention import ECA, SE
        >>> Combination([SE(64), ECA(64)]).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 1, 1])
    """

    def __init__(self, parts: Sequence[Attention]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        kinds = {part.kind for part in parts}
        self.kind = kinds.pop() if len(kinds) == 1 else "both"

    @property
    def activation(self) -> Callable[[Tensor], Tensor]:
        """σ of the last module; setting it sets that of every module."""
        return self._attentions()[-1].activation

    @activation.setter
    def activation(self, function: Callable[[Tensor], Tensor]) -> None:
        for part in self._attentions():
            part.activation = function

    def gate(self, x: Tensor) -> Tensor:
        """The product of the gates: maps (N, C, H, W) → v, of the shape to which those of the modules broadcast."""
        value = torch.ones_like(x[:, :1, :1, :1])
        for part in self._attentions():
            value = value * part.gate(x * value)
        return value

    def constant(self, psi: Tensor) -> Tensor:
        """ψ (C,) → v (C,): each module takes the constant that those before it have left.

        Raises:
            StripeError: A module has no value of a constant, or depends on the blocks before its own.
        """
        value = torch.ones_like(psi)
        for part in self._attentions():
            if isinstance(part, ChainedAttention):
                raise StripeError(
                    f"{type(part).__name__} hands a state from block to block; ASR can make that chain of it alone, "
                    "but not of a combination"
                )
            value = value * part.constant(psi * value)
        return value

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) times one gate after the other."""
        for part in self.parts:
            x = part(x)
        return x

    def _attentions(self) -> list[Attention]:
        return [part for part in self.parts if isinstance(part, Attention)]
