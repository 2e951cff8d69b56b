import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.byobnet import RepVggBlock
from torch import Tensor, nn

from stripe.errors import StripeError
from stripe.models import build, fuse_block, fuse_branches
from stripe.models.asymmetric import AsymmetricConv
from stripe.models.branches import is_branched

BLOCKS = {
    "acnet": lambda stride: AsymmetricConv(6, 6, stride),
    "repvgg": lambda stride: RepVggBlock(6, 6, stride=stride),  # has an identity branch at stride 1
    "repvgg-wider": lambda stride: RepVggBlock(6, 8, stride=stride),
    "repvgg-grouped": lambda stride: RepVggBlock(6, 6, stride=stride, group_size=2),
}


def shake(model: nn.Module, spread: float = 1.0) -> nn.Module:
    """Random statistics, scales and shifts in every normalisation, as after a training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, spread)
            nn.init.normal_(module.bias, 0, spread)
            assert isinstance(module.running_mean, Tensor)
            assert isinstance(module.running_var, Tensor)
            nn.init.normal_(module.running_mean, 0, spread)
            nn.init.uniform_(module.running_var, 0.1, 0.1 + 4 * spread)
    return model.eval()


def difference(got: Tensor, expected: Tensor) -> float:
    """The largest, relative to the largest value."""
    return float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


@pytest.mark.parametrize("kind", BLOCKS)
@given(seed=st.integers(0, 2**31), spread=st.floats(0, 3), stride=st.sampled_from([1, 2]))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_a_block_becomes_one_convolution(kind: str, seed: int, spread: float, stride: int) -> None:
    torch.manual_seed(seed)
    block = shake(BLOCKS[kind](stride), spread)
    x = torch.randn(2, 6, 9, 7)
    expected = block(x)
    fuse_block(block)
    assert difference(block(x), expected) < 1e-5
    assert [type(layer) for layer in block.modules() if list(layer.parameters(recurse=False))] == [nn.Conv2d]
    assert {p.dtype for p in block.parameters()} == {torch.float32}
    assert not block.training


@pytest.mark.parametrize("kind", BLOCKS)
@torch.no_grad()
def test_in_double_precision_the_difference_is_rounding(kind: str) -> None:
    block = shake(BLOCKS[kind](1)).double()
    x = torch.randn(2, 6, 9, 7, dtype=torch.float64)
    expected = block(x)
    fuse_block(block)
    assert difference(block(x), expected) < 1e-13


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_scaled_parametrization_of_the_norms_is_fused_too(kind: str) -> None:
    class Scaled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight * 0.25

    torch.manual_seed(0)
    block, x = shake(BLOCKS[kind](1)), torch.randn(2, 6, 9, 7)
    for norm in [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]:
        for name in ("weight", "bias"):
            nn.utils.parametrize.register_parametrization(norm, name, Scaled())
    with torch.no_grad():
        expected = block(x)
        fuse_block(block)
        assert difference(block(x), expected) < 1e-5


@pytest.mark.parametrize("attention", ["none", "se"])
@pytest.mark.parametrize(("spec", "blocks"), [("resnet20-acnet", 19), ("repvgg_a0", 22)])
@torch.no_grad()
def test_a_network_keeps_its_outputs_and_loads_into_a_fused_one(spec: str, blocks: int, attention: str) -> None:
    torch.manual_seed(0)
    model = shake(build(spec, attention=attention), 0.1).train()
    for _ in range(10):  # statistics that fit the maps, as a training leaves them
        model(torch.randn(16, 3, 32, 32))
    x = torch.randn(2, 3, 32, 32)
    expected = model.eval()(x)
    assert len(fuse_branches(model)) == blocks
    assert difference(model(x), expected) < 1e-5
    assert fuse_branches(model) == []

    loaded = build(spec, attention=attention, fused=True)
    loaded.load_state_dict(model.state_dict())
    torch.testing.assert_close(loaded.eval()(x), model(x), rtol=0, atol=0)


def test_the_fused_sizes_of_the_repvgg_paper() -> None:
    # Table 4 of https://arxiv.org/abs/2101.03697, 1000 classes: 8.30 and 110.96 million.
    with torch.device("meta"):
        for name, millions in (("repvgg_a0", 8.30), ("repvgg_b3", 110.96)):
            model = build(f"timm:{name}", fused=True)
            count = sum(p.numel() for p in model.parameters())
            assert count / 1e6 == pytest.approx(millions, abs=0.01)


def test_what_has_no_branches() -> None:
    assert fuse_branches(build("resnet11")) == []
    assert not is_branched(nn.Conv2d(3, 3, 1))
    with pytest.raises(StripeError, match="Conv2d has no branches"):
        fuse_block(nn.Conv2d(3, 3, 1))


def test_a_training_block_stays_in_training_mode() -> None:
    block = AsymmetricConv(2, 2).train()
    fuse_block(block)
    assert all(module.training for module in block.modules())
