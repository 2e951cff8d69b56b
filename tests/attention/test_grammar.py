"""How attention is written: orders, options, combinations, and lists for the blocks of a network."""

import pytest
import torch
from torch import nn

from stripe import asr
from stripe.attention import CBAM, ECA, MVAM, SE, BlockList, ChannelGate, Combination, attention, attention_factory
from stripe.attention.mvam import VarianceChannelGate, VarianceSpatialGate
from stripe.errors import StripeError
from stripe.models import build


@pytest.mark.parametrize(
    ("text", "cls", "order"),
    [
        ("cbam", CBAM, "ca>sa"),
        ("cbam:ca>sa", CBAM, "ca>sa"),
        ("cbam:sa>ca", CBAM, "sa>ca"),
        ("mvam:ca|sa", MVAM, "ca|sa"),
        ("cbam:ca", ChannelGate, None),
        ("mvam:ca", VarianceChannelGate, None),
        ("mvam:sa", VarianceSpatialGate, None),
    ],
)
def test_orders(text: str, cls: type[nn.Module], order: str | None) -> None:
    module = attention(text, 16)
    assert type(module) is cls
    assert getattr(module, "order", None) == order


@pytest.mark.parametrize(
    ("text", "size"), [("cbam", 98), ("cbam,k=3", 18), ("mvam:sa>ca,k=3", 18), ("mvam:sa,k=5", 50), ("cbam:ca|sa", 98)]
)
def test_kernel_of_the_spatial_half(text: str, size: int) -> None:
    module = attention(text, 16)
    assert sum(p.numel() for name, p in module.named_parameters() if name.endswith("conv.weight")) == size


def test_a_combination_weighs_one_after_the_other() -> None:
    torch.manual_seed(0)
    module = attention("se,bias=no+eca,k=5", 64)
    assert isinstance(module, Combination)
    first, second = module.parts
    assert isinstance(first, SE)
    assert isinstance(second, ECA)
    assert first.fc1.bias is None
    assert second.conv.kernel_size == (5,)
    x = torch.randn(2, 64, 5, 4)
    torch.testing.assert_close(module(x), second(first(x)))
    torch.testing.assert_close(module(x), x * module.gate(x))


@pytest.mark.parametrize(
    ("text", "kind", "shape"),
    [
        ("se+eca", "channel", (16, 1, 1)),
        ("cbam:sa+mvam:sa", "spatial", (1, 5, 4)),
        ("mvam:sa+se", "both", (16, 5, 4)),
    ],
)
def test_kinds_of_combinations(text: str, kind: str, shape: tuple[int, ...]) -> None:
    module = attention(text, 16)
    assert module.kind == kind
    assert module.gate(torch.randn(2, 16, 5, 4)).shape[1:] == shape


def test_a_constant_goes_through_a_combination() -> None:
    torch.manual_seed(0)
    module = attention("se+eca", 32)
    first, second = module.parts
    psi = torch.randn(32)
    value = first.constant(psi)
    torch.testing.assert_close(module.constant(psi), value * second.constant(psi * value))
    flat = psi[None, :, None, None].expand(1, 32, 3, 5)
    torch.testing.assert_close(module.constant(psi), module.gate(flat).flatten())


def test_another_activation_is_that_of_every_part() -> None:
    module = attention("se+eca", 16)
    module.activation = torch.tanh
    assert [part.activation for part in module.parts] == [torch.tanh] * 2
    assert module.activation is torch.tanh


def test_a_list_has_one_entry_for_each_block() -> None:
    model = build("resnet20", attention="se/none/eca/cbam:ca/se+eca/none")
    modules = [m.attention_module for stage in (model.layer1, model.layer2, model.layer3) for m in stage]
    kinds = [type(module) for module in modules]
    assert kinds == [SE, nn.Identity, ECA, ChannelGate, Combination, nn.Identity]
    assert [p.shape[1] for p in (modules[0].fc1.weight, modules[3].fc1.weight)] == [64, 128]
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize("network", ["resnet20", "shufflenetv2", "timm:resnet26"])
@pytest.mark.parametrize("text", ["se/eca", "/".join(["se"] * 20)])
def test_a_list_of_another_length_is_refused(network: str, text: str) -> None:
    blocks = {"resnet20": 6, "shufflenetv2": 16, "timm:resnet26": 8}[network]
    entries = len(text.split("/"))
    message = rf"is a list of {entries}, one for each block, but the network has {blocks} blocks"
    with torch.device("meta"), pytest.raises(StripeError, match=message):
        build(network, attention=text)


def test_a_list_by_itself_never_runs_over() -> None:
    make = attention_factory("se/eca")
    assert isinstance(make, BlockList)
    make(8), make(8)
    with pytest.raises(StripeError, match=r"is a list of 2, .* at least 3 blocks"):
        make(8)
    with pytest.raises(StripeError, match="is a list for the blocks of a network"):
        attention("se/eca", 8)


def test_modules_of_a_list_know_those_of_their_chain() -> None:
    make = attention_factory("dia/se/dia")
    first, _, third = (make(16) for _ in range(3))
    assert third.after is first
    model = build("resnet11")
    asr.reparameterize(model, ["layer1.0.bn1", "layer1.0.bn2", "layer2.0.bn1"], attention="dia/se/eca")
    assert len(asr.values(model)) == 3


def test_asr_of_a_chain_with_others_between() -> None:
    torch.manual_seed(0)
    together, alone = build("resnet11"), build("resnet11")
    norms = ["layer1.0.bn1", "layer1.0.bn2"]
    torch.manual_seed(1)
    asr.reparameterize(alone, norms, attention="dia")
    torch.manual_seed(1)
    asr.reparameterize(together, [norms[0], "layer2.0.bn1", norms[1]], attention="dia/ie/dia")
    values = [asr.values(model)[norms[1]] for model in (together, alone)]
    torch.testing.assert_close(*values)


def test_asr_of_a_list_of_one_module_is_that_of_the_module() -> None:
    """The LSTM of each stage is a part of the network, and the numbers that are drawn are the same."""
    alone, listed = (build("resnet8-basic") for _ in range(2))
    for model, text in ((alone, "dia"), (listed, "dia/dia/dia")):
        torch.manual_seed(1)
        asr.reparameterize(model, attention=text)
    assert sum(p.numel() for p in listed.parameters()) == sum(p.numel() for p in alone.parameters())
    torch.testing.assert_close(asr.values(listed), asr.values(alone), rtol=0, atol=0)


@pytest.mark.parametrize("text", ["cbam:ca", "mvam:ca", "se,bias=no", "eca,k=5", "mvam:ca+se", "eca/se/ie"])
def test_asr_is_fused_exactly(text: str) -> None:
    torch.manual_seed(0)
    model = build("resnet11").eval()
    asr.reparameterize(model, attention=text, start="alive")
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(x)
        fused = asr.fuse(model)
        assert torch.equal(fused(x), expected)
    assert fused.state_dict().keys() == build("resnet11").state_dict().keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mvam", "MVAM's spatial half weighs the positions of a map.*use mvam:ca"),
        ("cbam:sa>ca", "CBAM's spatial half weighs the positions of a map.*use cbam-channel"),
        ("mvam:ca|sa", "MVAM's spatial half"),
        ("mvam:sa", "VarianceSpatialGate weighs the positions of a map"),
        ("se+cbam:sa", "SpatialGate weighs the positions of a map"),
        ("dia+se", "DIA hands a state from block to block"),
        ("se/none/se", "every place of ASR needs an attention"),
        ("se/se", "is a list of 2, one for each block, but the network has 3 blocks"),
    ],
)
def test_what_is_no_constant_is_refused_for_asr(text: str, message: str) -> None:
    model = build("resnet11")
    with pytest.raises(StripeError, match=message):
        asr.reparameterize(model, attention=text)
    assert not asr.values(model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown attention ''"),
        ("se+", "unknown attention '' in 'se\\+'"),
        ("se/", "unknown attention '' in 'se/'"),
        ("se/sse", "unknown attention 'sse' in 'se/sse'; there are none, se, .*; did you mean se"),
        ("se+none", "none stands alone, or as one entry of a list"),
        ("none,k=3", "none stands alone"),
        ("cbam:sa<ca", "unknown attention 'cbam:sa<ca': the orders of cbam are ca>sa, sa>ca, ca|sa, ca, sa"),
        ("cbam:", "unknown attention 'cbam:': the orders of cbam are"),
        ("se:ca", "unknown attention 'se:ca': se has no orders"),
        ("cbam,kernel=3", "attention 'cbam' has no option 'kernel=3'; its options are k="),
        ("cbam,k", "attention 'cbam' has no option 'k'; its options are k="),
        ("cbam:ca,k=3", "attention 'cbam:ca' has no option 'k=3'; it has none"),
        ("cbam,k=3,k=5", "attention 'cbam' says its k twice"),
        ("cbam,k=x", "attention 'cbam': 'k=x' is not a whole number"),
        ("eca,k=3.0", "attention 'eca': 'k=3.0' is not a whole number"),
        ("cbam,k=4", "kernel_size is 4; the kernel of spatial attention has an odd size"),
        ("eca,k=-1", "k is -1; the kernel of ECA has an odd size"),
        ("eca+se,bias=maybe", "attention 'se' in 'eca\\+se,bias=maybe': 'bias=maybe' is neither yes nor no"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        build("resnet11", attention=text)
