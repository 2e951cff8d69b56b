"""What every attention module has in common: it multiplies a map by a gate that it computes from that map."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Attention", "SqueezeAttention", "hidden_width"]


class Attention(nn.Module, ABC):
    """Multiplicative attention, ``y = x ⊙ v`` with ``v = gate(x)``.

    Subclasses define :meth:`gate`, and :meth:`constant` where a constant is no map of one pixel to them.

    Attributes:
        activation: σ, the last step of the gate (Stripe Observation paper, eq. 4). ASR in a ViT replaces it by
            tanh.
    """

    activation: Callable[[Tensor], Tensor] = staticmethod(torch.sigmoid)

    @abstractmethod
    def gate(self, x: Tensor) -> Tensor:
        """The attention value v.

        Args:
            x: Feature maps (N, C, H, W).

        Returns:
            v in (0, 1), of a shape that broadcasts over ``x``: (N, C, 1, 1) for channel attention,
            (N, 1, H, W) for spatial attention.
        """

    def constant(self, psi: Tensor) -> Tensor:
        """The attention value of a constant instead of a map, ``v = σ(F_θ(ψ))`` (paper, section 3.2).

        As long as a subclass does not say otherwise, that is the gate of a map of one pixel: an average over
        positions leaves ψ as it is.

        Args:
            psi: ψ, (C,).

        Returns:
            v, (C,).

        Raises:
            StripeError: The attention weighs positions, which a constant does not have.
        """
        return self.gate(psi[None, :, None, None]).flatten()

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, H, W) times their gate, of the same shape."""
        return x * self.gate(x)


class SqueezeAttention(Attention):
    """Channel attention that sees nothing but the global average: ``v = excite(GAP(x))`` (paper, eq. 3 and 4).

    Subclasses define :meth:`excite`.
    """

    @abstractmethod
    def excite(self, squeezed: Tensor) -> Tensor:
        """The attention value ``σ(F_θ(u))`` of averages u (N, C) → v (N, C)."""

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, C, 1, 1)."""
        return self.excite(x.mean((2, 3)))[:, :, None, None]

    def constant(self, psi: Tensor) -> Tensor:
        """ψ (C,) → v (C,): a constant is its own average."""
        return self.excite(psi[None])[0]


def hidden_width(channels: int, reduction: int) -> int:
    """Width of the bottleneck of an attention MLP: ``max(1, round(C / r))``."""
    return max(1, round(channels / reduction))
