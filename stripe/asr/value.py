"""The attention value of a learnable constant, v(ψ, θ)."""

from typing import Any

from torch import Tensor, nn

from stripe.asr.cache import remember
from stripe.attention import Attention, ChainedAttention
from stripe.attention.base import State
from stripe.modes import no_autocast

__all__ = ["ASR", "ChainedASR"]


class ASR(nn.Module):
    """An attention module κ whose input is a constant ψ: ``v = σ(F_θ(ψ))`` (paper, section 3.2).

    Args:
        attention: Attention module κ: an ``Attention``, or any module with ``gate(x)`` for maps
            (1, C, 1, 1) → (1, C, 1, 1).
        psi: Initial value of ψ, of shape (C,).
        learnable: Whether ψ is a parameter; otherwise it is a buffer that does not change (table 8).
    """

    def __init__(self, attention: nn.Module, psi: Tensor, learnable: bool = True) -> None:
        super().__init__()
        self.attention = attention
        self.psi: Tensor
        if learnable:
            self.psi = nn.Parameter(psi)
        else:
            self.register_buffer("psi", psi)

    def value(self) -> Tensor:
        """The attention value v of shape (C,), computed once inside ``stripe.asr.cached``."""
        return remember(self, self._value, self._sources)

    def _sources(self) -> list[nn.Module]:
        return list(self.modules())

    def _value(self) -> Tensor:
        return self.anew()

    def anew(self) -> Tensor:
        """The attention value v of shape (C,), computed now without the cache."""
        # In the precision of the parameters, as the fused network must equal the trained one.
        with no_autocast(self.psi):
            if isinstance(self.attention, Attention):
                return self.attention.constant(self.psi)
            gate: Any = self.attention.gate
            value: Tensor = gate(self.psi[None, :, None, None]).flatten()
            return value


class ChainedASR(ASR):
    """ASR with attention that makes a chain (DIA), whose value depends on the ψ of the places before it in the stage.

    Args:
        attention: Attention module κ.
        psi: Initial value of ψ, of shape (C,).
        learnable: Whether ψ is a parameter.
        after: The ASR before this one in the stage; None for the first.
    """

    attention: ChainedAttention

    def __init__(self, attention: ChainedAttention, psi: Tensor, learnable: bool, after: "ChainedASR | None") -> None:
        super().__init__(attention, psi, learnable)
        self._after = () if after is None else (after,)  # in a tuple, so that it is not a submodule

    def value(self) -> Tensor:
        """The attention value v of shape (C,), computed once inside ``stripe.asr.cached``."""
        return self._state()[0].flatten()

    def _state(self) -> State:
        return remember(self, self._step, self._sources)

    def _sources(self) -> list[nn.Module]:
        before = self._after[0]._sources() if self._after else []  # the first one has the LSTM that all share
        return [*before, *self.modules()]

    def anew(self) -> Tensor:
        """The attention value v of shape (C,), computed now without the cache."""
        return self._step()[0].flatten()

    def _step(self) -> State:
        before = self._after[0]._state() if self._after else None
        with no_autocast(self.psi):
            return self.attention.step(self.psi[None], before)
