"""ASR with DIA: a chain of constants through each stage."""

import copy

import torch
from torch import nn

from stripe import asr
from stripe.asr.value import ChainedASR
from stripe.attention import DIA
from stripe.models import build


def chains(model: nn.Module) -> list[ChainedASR]:
    return [module for module in model.modules() if isinstance(module, ChainedASR)]


def test_values_are_those_of_the_attention_for_maps_that_are_constant() -> None:
    torch.manual_seed(0)
    model = build("resnet29").double()
    asr.reparameterize(model, attention="dia", psi="N1")
    reference = build("resnet29", attention="dia").double()
    modules = [module for module in reference.modules() if isinstance(module, DIA)]
    owners = [module for module in modules if module.after is None]
    for owner, own in zip(owners, [chain for chain in chains(model) if not chain._after], strict=True):
        owner.cell.load_state_dict(own.attention.cell.state_dict())
    for value, chain, module in zip(asr.values(model).values(), chains(model), modules, strict=True):
        # The attention module sees a whole map of ψ, and the state that those before it left.
        gate = module.gate(chain.psi[None, :, None, None].expand(2, -1, 3, 3))
        torch.testing.assert_close(value, gate[0, :, 0, 0])


def test_a_value_depends_on_the_places_before_it_in_its_stage() -> None:
    torch.manual_seed(0)
    model = build("resnet29")
    asr.reparameterize(model, attention="dia")
    before = asr.values(model)
    with torch.no_grad():
        chains(model)[4].psi.add_(1)  # the second block of the second stage
    after = asr.values(model)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["layer2.1.bn3", "layer2.2.bn3"]


def test_copies_are_chains_of_their_own() -> None:
    torch.manual_seed(0)
    model = build("resnet20")
    asr.reparameterize(model, attention="dia", copies=2, psi="N1")
    x = torch.randn(2, 3, 8, 8)
    model.eval()
    other = copy.deepcopy(model)
    with asr.cached():
        expected = model(x)
    cells = {id(chain.attention._cell[0]) for chain in chains(model)}
    assert len(cells) == 6  # two chains in each of three stages
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(other(x), expected)
    assert torch.equal(asr.fuse(other)(x), expected)
