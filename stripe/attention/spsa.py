"""Simple Parameter-free Self-Attention: spatial attention from the correlation of each position with the average.

Zhai et al., "Simple Parameter-Free Self-Attention Approximation", ICLR 2023 Tiny Papers, equation 1. The code
in its appendix averages over the channels without keeping their axis, so that the average of one image is taken off
another; this is equation 1. The paper gives no number for the exponent, and divides by 0 where nothing varies: here the
exponent is 2, and a small number is added to both variances.
"""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stripe.attention.base import Attention, Kind
from stripe.attention.registry import register
from stripe.errors import StripeError
from stripe.modes import no_autocast

__all__ = ["SPSA"]

LEAST = 1e-25  # a variance below this is none: the cube of its inverse root, in gradients, leaves float32


@register("spsa", place=9)
class SPSA(Attention):
    """Spatial attention without parameters: positions unlike the average of the map are kept, those like it lowered.

    ``v = (1 − σ(C))^α``, C the correlation over channels of a position's values with ``k = GAP(x)``: mean and standard
    deviation over channels are taken off both. With several heads, each part of the channels has a correlation of its
    own, which for two channels is but a sign. Time and memory grow linearly with the number of positions.

    Variants of the paper's appendix: without the reverse operation, ``v = σ(C)^α`` (``spsa,reverse=no``), and with the
    dot product, over the root of the number of channels, or its cosine for the correlation (``spsa,similarity=dot``).

    Parameters: none.

    Args:
        channels: C, the number of channels of the maps.
        heads: Number of parts of the channels, of which it is a divisor; each part has at least two.
        alpha: α, the exponent, more than 0.
        reverse: Whether it is 1 − σ(C) and not σ(C).
        similarity: What C is: ``correlation``, ``cosine`` or ``dot``.
        eps: ε, the part of its mean square that is added to the variance of a position; to that of the average, of the
            mean square of the whole map. What does not vary over channels, but for rounding, has the correlation 0.

    Raises:
        StripeError: The heads do not divide the channels into parts of two or more; α or ε is not more than 0.

    Example:
        >>> import torch
        >>> SPSA(64).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    kind: Kind = "spatial"
    options: ClassVar = {name: name for name in ("heads", "alpha", "reverse", "similarity", "eps")}

    def __init__(
        self,
        channels: int,
        heads: int = 1,
        alpha: float = 2.0,
        reverse: bool = True,
        similarity: Literal["correlation", "cosine", "dot"] = "correlation",
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise StripeError(f"heads is {heads}; SPSA divides the channels of its maps among them, here {channels}")
        if channels < 2 * heads:
            raise StripeError(
                f"heads is {heads}; the correlation of SPSA needs 2 channels or more for each of them, and its maps "
                f"have {channels} in all"
            )
        if not 0 < alpha < float("inf"):
            raise StripeError(f"alpha is {alpha}; the exponent of SPSA is more than 0")
        if not 0 < eps < float("inf"):
            raise StripeError(f"eps is {eps}; the part of the energy that SPSA adds is more than 0, such as 1e-8")
        self.heads, self.alpha, self.reverse, self.similarity, self.eps = heads, alpha, reverse, similarity, eps
        if heads > 1:
            self.kind = "both"

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, 1, H, W); with several heads (N, C, H, W)."""
        value = self._by_head(x)
        if self.heads > 1:
            value = value.repeat_interleave(x.shape[1] // self.heads, 1)
        return value

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) times their gate, each head's channels times the head's gate."""
        value = self._by_head(x)
        if self.heads == 1:
            return x * value
        batch, channels, height, width = x.shape
        heads = x.reshape(batch, self.heads, channels // self.heads, height, width)
        return (heads * value.unsqueeze(2)).flatten(1, 2)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        parts = [f"heads={self.heads}", f"alpha={self.alpha:g}"]
        parts += [] if self.reverse else ["reverse=False"]
        return ", ".join(parts if self.similarity == "correlation" else [*parts, f"similarity={self.similarity!r}"])

    def _by_head(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, heads, H, W)."""
        batch, channels, height, width = x.shape
        maps = x.reshape(batch * self.heads, channels // self.heads, height * width)
        likeness = self.activation(self._compare(maps).to(x.dtype)).view(batch, self.heads, height, width)
        weight = 1 - likeness if self.reverse else likeness
        value: Tensor = weight**self.alpha
        return value

    def _compare(self, maps: Tensor) -> Tensor:
        """The similarity of each position with the average over positions, (M, c, P) → (M, P)."""
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))  # squares leave the range of half precision
        offset = maps.mean(1, keepdim=True) if self.similarity == "correlation" else None
        if offset is not None:  # the correlation is the cosine of what is centred
            maps = maps - offset
        key = maps.mean(2)
        with no_autocast(maps):
            products = torch.bmm(key.unsqueeze(1), maps).squeeze(1)
        if self.similarity == "dot":
            return products / math.sqrt(maps.shape[1])
        of_key, of_positions = key.square().mean(1, keepdim=True), maps.square().mean(1)
        energy = of_positions if offset is None else of_positions + offset.squeeze(1).square()
        of_key, of_positions = of_key + self.eps * energy.mean(1, keepdim=True), of_positions + self.eps * energy
        similarity: Tensor = products / maps.shape[1] * _inverse_root(of_positions) * _inverse_root(of_key)
        return similarity


def _inverse_root(variances: Tensor) -> Tensor:
    """1 over the root; 0, without a gradient, where there is nothing."""
    return torch.where(variances > LEAST, variances, math.inf).rsqrt()
