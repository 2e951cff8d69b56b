"""What every attention module has in common: it multiplies a map by a gate that it computes from that map."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from stripe.errors import StripeError

__all__ = ["Attention", "ChainedAttention", "Kind", "SqueezeAttention", "State", "hidden_width"]

Kind = Literal["channel", "spatial", "both"]

State = tuple[Tensor, Tensor]
"""What a block hands to the next: the attention value of its channels, and what else is remembered, each (N, C)."""


class Attention(nn.Module, ABC):
    """Multiplicative attention, ``y = x ⊙ v`` with ``v = gate(x)``.

    Subclasses define ``gate``, and ``kind`` if they do not weigh channels. They define ``constant`` only if the value
    of a constant ψ is not the gate of a map of one pixel whose values are ψ. A class with a name is registered,
    see ``stripe.attention.register``, and is then constructed with the number of channels alone.

    Attributes:
        kind: What the gate weighs: channels, positions, or both. A constant ψ, and the tokens of a ViT, have no
            positions, so that they take channel attention alone.
        activation: σ, the last step of the gate (Stripe Observation paper, eq. 4). ASR in a ViT replaces it by
            tanh.
        options: What may be written after the module's name, and the constructor's argument that it sets:
            ``{"k": "kernel_size"}`` for ``cbam,k=3``. The argument is annotated as a number, truth value or literal.
        orders: What may be written after the name and a colon, as ``sa>ca``; see ``ordered``.
    """

    kind: Kind = "channel"
    activation: Callable[[Tensor], Tensor] = staticmethod(torch.sigmoid)
    options: ClassVar[Mapping[str, str]] = {}
    orders: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def factory(cls, **arguments: Any) -> Callable[[int], "Attention"]:
        """A function that makes the modules of one network, each from its number of channels.

        It is called in the order of the forward pass. Modules that know those before them have a factory of their own;
        by default each module is made by itself.

        Args:
            **arguments: Further arguments of the constructor.
        """
        return partial(cls, **arguments) if arguments else cls

    @classmethod
    def ordered(cls, order: str) -> "tuple[type[Attention], dict[str, Any]]":
        """The class, and arguments of its constructor, of a module with its halves in some order.

        Args:
            order: One of ``orders``.
        """
        raise NotImplementedError(f"{cls.__name__} has no orders")

    @abstractmethod
    def gate(self, x: Tensor) -> Tensor:
        """The attention value v.

        Args:
            x: Feature maps (N, C, H, W).

        Returns:
            v in (0, 1), of a shape that broadcasts over ``x``: (N, C, 1, 1) for channel attention,
            (N, 1, H, W) for spatial attention, (N, C, H, W) for both.
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
        if self.kind != "channel":
            raise StripeError(
                f"{type(self).__name__} weighs the positions of a map, and a constant ψ has none, so it cannot be used "
                "for ASR"
            )
        return self.gate(psi[None, :, None, None]).flatten()

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, H, W) times their gate, of the same shape."""
        return x * self.gate(x)


class SqueezeAttention(Attention):
    """Channel attention that sees nothing but the global average: ``v = excite(GAP(x))`` (paper, eq. 3 and 4).

    Subclasses define ``excite``.
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


class ChainedAttention(Attention):
    """Channel attention of a block that depends on a state, which the block before it in its stage hands over.

    Constants make a chain in the same way: v_t depends on ψ_1 … ψ_t, so that ASR has to know ``after``.
    Subclasses define ``after`` and ``step``, and a ``factory``.
    """

    @property
    @abstractmethod
    def after(self) -> "ChainedAttention | None":
        """The module before this one in its stage; None for the first."""

    @abstractmethod
    def step(self, squeezed: Tensor, before: State | None) -> State:
        """The state after this block.

        Args:
            squeezed: Averages over positions, or ψ, (N, C).
            before: The state after the block before; None for the first block of a stage.
        """

    def constant(self, psi: Tensor) -> Tensor:
        """ψ (C,) → v (C,) of a stage's first block; ASR makes the chain itself."""
        return self.step(psi[None], None)[0].flatten()


def hidden_width(channels: int, reduction: int) -> int:
    """Width of the bottleneck of an attention MLP: ``max(1, round(C / r))``."""
    return max(1, round(channels / reduction))
