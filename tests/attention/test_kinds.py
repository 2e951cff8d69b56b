"""What attention modules say of themselves, so that nobody has to know their classes."""

import pytest
import torch
from torch import Tensor

from stripe.attention import ATTENTION, Attention, ChainedAttention, SpatialGate, attention
from stripe.errors import StripeError
from stripe.models.insertion import TokenAttention


@pytest.mark.parametrize("name", ATTENTION)
def test_the_kind_is_what_the_gate_varies_over(name: str) -> None:
    torch.manual_seed(0)
    module = attention(name, 16).eval()
    assert isinstance(module, Attention)
    shape = tuple(module.gate(torch.randn(2, 16, 5, 5)).shape[1:])
    assert shape == {"channel": (16, 1, 1), "spatial": (1, 5, 5), "both": (16, 5, 5)}[module.kind]


def test_spatial_attention_of_ones_own_is_refused_where_there_are_no_positions() -> None:
    class Middle(Attention):
        kind = "spatial"

        def gate(self, x: Tensor) -> Tensor:
            return self.activation(x.mean(1, keepdim=True))

    for module in (Middle(), SpatialGate()):
        with pytest.raises(StripeError, match=f"{type(module).__name__} weighs the positions of a map"):
            module.constant(torch.zeros(8))
        with pytest.raises(StripeError, match="no channel attention"):
            TokenAttention(module)


@pytest.mark.parametrize("name", ATTENTION)
def test_modules_of_a_network_know_each_other_only_in_chains(name: str) -> None:
    make = ATTENTION[name].factory()
    first, second = make(8), make(8)
    assert type(first) is type(second) is ATTENTION[name]
    if isinstance(second, ChainedAttention):
        assert second.after is first
    else:
        assert {id(p) for p in first.parameters()}.isdisjoint(id(p) for p in second.parameters())
