import pytest
import torch
from torch import nn

from stripe.attention import ATTENTION, Attention, attention, attention_factory
from stripe.errors import StripeError


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("shape", [(2, 16, 4, 4), (1, 1, 1, 1)])
def test_every_module_keeps_the_protocol(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    if name == "spsa" and shape[1] == 1:  # which compares channels
        with pytest.raises(StripeError, match="2 channels or more"):
            attention(name, 1)
        return
    module = attention(name, shape[1]).eval()  # batch statistics need more than one image
    x = torch.randn(shape)

    assert isinstance(module, Attention)
    gate = module.gate(x)
    assert torch.broadcast_shapes(gate.shape, x.shape) == x.shape
    assert ((gate > 0) & (gate < 1)).all()
    torch.testing.assert_close(module(x), x * gate)


def test_none_is_the_identity_without_parameters() -> None:
    module = attention("none", 8)
    x = torch.randn(1, 8, 2, 2)
    assert isinstance(module, nn.Identity)
    assert module(x) is x
    assert not module.state_dict()


def test_unknown_name_lists_the_known_ones() -> None:
    for make in (lambda: attention("sse", 8), lambda: attention_factory("sse")):
        with pytest.raises(StripeError, match="'sse'; there are none, se, eca, cbam, cbam-channel, ie, srm, spa, dia"):
            make()
