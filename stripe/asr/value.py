"""The attention value of a learnable constant, v(ψ, θ)."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from stripe.asr.cache import remember
from stripe.attention import Attention, ChainedAttention
from stripe.attention.base import State

__all__ = ["ASR", "ChainedASR"]


class ASR(nn.Module):
    """An attention module κ whose input is a constant ψ: ``v = σ(F_θ(ψ))`` (paper, section 3.2).

    Args:
        attention: κ; an ``Attention``, or a module of yours with ``gate(x)``, maps (1, C, 1, 1) → (1, C, 1, 1).
        psi: ψ's first value, (C,).
        learnable: True: ψ is a parameter. False: ψ is a buffer that stays as it is (table 8).
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
        """v, (C,), once inside `stripe.asr.cached`."""
        return remember(self, self._value, self._sources)

    def _sources(self) -> list[nn.Module]:
        return list(self.modules())

    def _value(self) -> Tensor:
        return self.anew()

    def anew(self) -> Tensor:
        """v, (C,), computed now, whatever is kept."""
        # In the parameters' own precision, or the fused network would not be the one that was trained.
        with _no_autocast(self.psi):
            if isinstance(self.attention, Attention):
                return self.attention.constant(self.psi)
            gate: Any = self.attention.gate
            value: Tensor = gate(self.psi[None, :, None, None]).flatten()
            return value


class ChainedASR(ASR):
    """ASR with attention that makes a chain (DIA), whose value depends on the ψ of the places before it in the stage.

    Args:
        attention: κ.
        psi: As for `ASR`.
        learnable: As for `ASR`.
        after: The ASR before this one in the stage; None for the first.
    """

    attention: ChainedAttention

    def __init__(self, attention: ChainedAttention, psi: Tensor, learnable: bool, after: "ChainedASR | None") -> None:
        super().__init__(attention, psi, learnable)
        self._after = () if after is None else (after,)  # in a tuple, so that it is no submodule

    def value(self) -> Tensor:
        """v, (C,), once inside `stripe.asr.cached`."""
        return self._state()[0].flatten()

    def _state(self) -> State:
        return remember(self, self._step, self._sources)

    def _sources(self) -> list[nn.Module]:
        before = self._after[0]._sources() if self._after else []  # the first one has the LSTM that all share
        return [*before, *self.modules()]

    def anew(self) -> Tensor:
        """v, (C,), computed now, whatever is kept."""
        return self._step()[0].flatten()

    def _step(self) -> State:
        before = self._after[0]._state() if self._after else None
        with _no_autocast(self.psi):
            return self.attention.step(self.psi[None], before)


def _no_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    device = tensor.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()
