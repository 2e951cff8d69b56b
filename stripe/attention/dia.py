"""Dense-and-Implicit Attention: one LSTM that the blocks of a stage share.

Huang et al., "DIANet: Dense-and-Implicit Attention Network", AAAI 2020, https://arxiv.org/abs/1905.10671: the
LSTM's "time" is the depth of the network, its transformations are bottlenecks, and its output passes a sigmoid where
a usual LSTM has a tanh.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stripe.attention.base import ChainedAttention, State, hidden_width
from stripe.attention.registry import register
from stripe.errors import StripeError

__all__ = ["DIA", "DIACell"]


class DIACell(nn.Module):
    """The LSTM: ``[i; f; g; o] = MLP_in(u) + MLP_h(h')``, ``c = σ(f) ⊙ c' + σ(i) ⊙ tanh(g)``, ``h = σ(o) ⊙ σ(c)``.

    Each MLP is C → h = max(1, round(C / r)) → 4·C with biases and a ReLU between.

    Parameters: 2·(5·C·h + h + 4·C).

    Args:
        channels: C.
        reduction: r.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.of_input = _mlp(channels, reduction)
        self.of_hidden = _mlp(channels, reduction)

    def forward(self, squeezed: Tensor, before: State | None, activation: Callable[[Tensor], Tensor]) -> State:
        """One step.

        Args:
            squeezed: u, the input, (N, C).
            before: h' and c', the hidden and the cell state after the block before, (N, C) each; None: zeros.
            activation: The last σ, that of the output.
        """
        hidden, cell = (torch.zeros_like(squeezed), torch.zeros_like(squeezed)) if before is None else before
        i, f, g, o = (self.of_input(squeezed) + self.of_hidden(hidden)).chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * activation(cell), cell


@register("dia", place=7)
class DIA(ChainedAttention):
    """Channel attention from the global average and from what the blocks before it in its stage remember.

    ``v_t = h_t``, ``(h_t, c_t) = LSTM(GAP(x_t), h_{t−1}, c_{t−1})``, t counting the blocks of a stage. Constants make a
    chain in the same way: v_t depends on ψ_1 … ψ_t.

    The LSTM is a submodule of the stage's first module alone, so that parameters are counted, and saved, once. The
    state is kept until the next forward pass; a block cannot run before those before it.

    Parameters: those of ``DIACell``, once per stage. In ResNet164 (r = 4) that is 218,848 in all.

    Args:
        channels: C, the number of channels of the maps.
        reduction: r, how many times narrower the hidden layers of the LSTM's transformations are.
        after: The module before this one in its stage, whose LSTM it shares; None for the first.

    Example:
        >>> import torch
        >>> first = DIA(64)
        >>> second = DIA(64, after=first)
        >>> second(first(torch.randn(2, 64, 8, 8))).shape
        torch.Size([2, 64, 8, 8])
    """

    def __init__(self, channels: int, reduction: int = 4, after: "DIA | None" = None) -> None:
        super().__init__()
        self.channels = channels
        self._state: State | None = None
        # In tuples, because what is an attribute itself becomes a submodule.
        self._after = () if after is None else (after,)
        if after is None:
            self.cell = DIACell(channels, reduction)
            self._cell: tuple[DIACell] = (self.cell,)
        else:
            self._cell = after._cell

    @classmethod
    def factory(cls, **arguments: Any) -> Callable[[int], "DIA"]:
        """Makes the modules of one network: those made one after the other for equal C share an LSTM.

        Args:
            **arguments: Further arguments of the constructor.

        Example:
            >>> make = DIA.factory()
            >>> stem, first, second = make(32), make(64), make(64)
            >>> second.after is first, first.after
            (True, None)
        """
        last: DIA | None = None

        def make(channels: int) -> DIA:
            nonlocal last
            same_stage = last is not None and last.channels == channels
            last = cls(channels, after=last if same_stage else None, **arguments)
            return last

        return make

    @property
    def after(self) -> "DIA | None":
        """The module before this one in its stage."""
        return self._after[0] if self._after else None

    def step(self, squeezed: Tensor, before: State | None) -> State:
        """The LSTM's step: input (N, C) and the state after the block before → the state after this one."""
        state: State = self._cell[0](squeezed, before, self.activation)
        return state

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, C, 1, 1).

        Raises:
            StripeError: The block before has not run.
        """
        before = self.after._state if self.after else None
        if self.after and before is None:
            raise StripeError("DIA hands a state from block to block; the block before this one has not run")
        self._state = self.step(x.mean((2, 3)), before)
        return self._state[0][:, :, None, None]

    def __getstate__(self) -> dict[str, Any]:
        """Without the state of the last forward pass: its tensors have a graph, and cannot be copied."""
        return {**self.__dict__, "_state": None}


def _mlp(channels: int, reduction: int) -> nn.Sequential:
    hidden = hidden_width(channels, reduction)
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 4 * channels))
