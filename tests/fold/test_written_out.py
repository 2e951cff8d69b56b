"""Gates that a block computes in its own forward, without a module for the attention."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import stripe
from stripe.errors import StripeError
from stripe.fold import Finetune, fold

C = 8


class Block(nn.Module):
    """As many write it: squeeze, two layers, excitation, all in the block's forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(C, C, 3, padding=1, bias=False), nn.BatchNorm2d(C)
        self.fc1, self.fc2 = nn.Conv2d(C, C // 4, 1), nn.Conv2d(C // 4, C, 1)

    def squeeze(self, out: Tensor) -> Tensor:
        n, c, _, width = out.size()
        w = F.relu(self.fc1(F.avg_pool2d(out, width)))
        return self.fc2(w).sigmoid().view(n, c, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        return F.relu(x + out * self.squeeze(out))


class GateFirst(Block):
    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        out = torch.mul(self.squeeze(out), other=out)
        out += x
        return F.relu(out)


class InPlace(Block):
    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        out *= self.squeeze(out)
        return F.relu(out + x)


class Excite(nn.Module):
    """Gives the gate; the block multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(x.mean((2, 3))))[:, :, None, None]


class GateModule(Block):
    def __init__(self) -> None:
        super().__init__()
        del self.fc1, self.fc2
        self.se = Excite()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        return F.relu(x + out * self.se(out))


class Two(Block):
    """Two channel gates, and a spatial one between them."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Excite()  # the name that the new module would have

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        out = out * self.squeeze(out)
        out = out * out.mean(1, keepdim=True).sigmoid()
        return F.relu(x + out * self.attention(out))


class Rescaled(Block):
    """Both gates multiply tensors themselves, before either map is multiplied; beside them two other products."""

    def __init__(self) -> None:
        super().__init__()
        self.a1, self.a2 = (nn.Parameter(torch.randn(1, C, 1, 1)) for _ in range(2))
        self.register_buffer("temperature", torch.ones(1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        hot = self.temperature * self.temperature
        g1 = (out.mean((2, 3), keepdim=True) * self.a1).sigmoid()
        g2 = (x.mean((2, 3), keepdim=True) * self.a2).sigmoid()
        unused = out * out  # noqa: F841
        return (out * g1 + x * g2) * hot


class Helper(nn.Module):
    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, self.training)


class Dropping(Block):
    """Drops values while it is trained, by itself and by a method of another module; may be told to leave that."""

    def __init__(self) -> None:
        super().__init__()
        self.helper, self.stride, self.weighted = Helper(), 1, nn.Conv2d(C, C, 1, groups=2)

    def forward(self, x: Tensor, drop: bool = True, mask: Tensor | None = None) -> Tensor:
        out = self.bn(self.conv(x))
        if drop:
            out = self.helper.drop(F.dropout(out, 0.5, self.training))
        if mask is not None:
            out = out * mask
        out = F.silu(out)
        out = out * self.squeeze(out)
        return F.relu(x + F.conv2d(out, self.weighted.weight, self.weighted.bias, groups=2))


class InPlaceGate(Block):
    """The gate is changed by a call whose result is not taken."""

    def squeeze(self, out: Tensor) -> Tensor:
        w = self.fc2(self.fc1(out.mean((2, 3), keepdim=True)))
        w.sigmoid_()
        return w


class OfTheInput(Block):
    """The gate is one of another map."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.bn(self.conv(x)) * self.squeeze(x))


class Branching(Block):
    """What runs depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        return F.relu(x + out * self.squeeze(out)) if x.sum() < 1e9 else x


class Written(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.stem, self.block, self.fc = nn.Conv2d(3, C, 3), block, nn.Linear(C, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.block(self.stem(x)).mean((2, 3)))


class InTheModel(Written):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc((x * self.block(x)).mean((2, 3)))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(8, 3, 12, 12), torch.arange(8) % 5


@pytest.mark.parametrize("make", [Block, GateFirst, InPlace, GateModule])
def test_it_is_folded_and_gone(make: type[Block], batch: tuple[Tensor, Tensor]) -> None:
    """A gate that ignores its input: nothing changes but the parameters that are left."""
    net = Written(make()).eval()
    last = net.block.se.fc if make is GateModule else net.block.fc2
    nn.init.zeros_(last.weight)
    nn.init.normal_(last.bias)
    names = list(net.state_dict())
    result = fold(net, [batch], sequential=True, frontier=True)
    assert result.sites[["site", "folded", "into"]].to_numpy().tolist() == [["block", "backwards", "block.bn"]]
    with torch.no_grad():
        torch.testing.assert_close(result.model(batch[0]), net(batch[0]), rtol=1e-5, atol=1e-6)
    kept = [name for name in names if ".fc1." not in name and ".fc2." not in name and ".se." not in name]
    assert sorted(result.model.state_dict()) == sorted(kept)
    assert type(net.block) is make  # the model itself stays as it was
    assert list(net.state_dict()) == names


def test_the_constant_is_the_mean(batch: tuple[Tensor, Tensor]) -> None:
    net = Written(Block()).eval()
    with torch.no_grad():
        out = net.block.bn(net.block.conv(net.stem(batch[0])))
        mean = net.block.squeeze(out).mean((0, 2, 3))
        folded = fold(net, [batch]).model
    torch.testing.assert_close(folded.block.bn.weight, net.block.bn.weight * mean)


def test_several_in_a_block(batch: tuple[Tensor, Tensor]) -> None:
    """The mean of each is taken where the forward pass takes it, and the spatial one stays."""
    net = Written(Two()).eval()
    result = fold(net, [batch], sequential=True)
    sites = result.sites.set_index("site")
    assert sites["folded"].to_dict() == {"block": "backwards", "block#2": "not foldable", "block#3": "left"}
    with torch.no_grad():
        x = net.stem(batch[0])
        out = net.block.bn(net.block.conv(x))
        out = out * net.block.squeeze(out).mean(0)  # constant before the means behind it are taken
        out = out * out.mean(1, keepdim=True).sigmoid()
        out = out * net.block.attention(out).mean(0)
        wanted = net.fc(F.relu(x + out).mean((2, 3)))
        torch.testing.assert_close(result.model(batch[0]), wanted)
    assert not any("fc1" in name or "attention.fc" in name for name in result.model.state_dict())


def test_gates_that_multiply_themselves(batch: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """The means are those of the gates, whatever else is multiplied; buffers stay what they are in the file."""
    net = Written(Rescaled()).eval()
    net.block.temperature.fill_(3)
    result = fold(net, [batch], sequential=True)
    with torch.no_grad():
        x = net.stem(batch[0])
        out = net.block.bn(net.block.conv(x))
        g1 = (out.mean((2, 3), keepdim=True) * net.block.a1).sigmoid().mean(0)
        g2 = (x.mean((2, 3), keepdim=True) * net.block.a2).sigmoid().mean(0)
        wanted = net.fc(((out * g1 + x * g2) * 9).mean((2, 3)))
        torch.testing.assert_close(result.model(batch[0]), wanted)
        result.save(tmp_path / "folded.safetensors", {"model": "python:mine:make"})
        loaded = stripe.load(tmp_path / "folded.safetensors", Written(Rescaled()))
        torch.testing.assert_close(loaded(batch[0]), wanted)


def test_what_is_off_in_evaluation_is_off(batch: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """Traced in evaluation mode, loaded into a network in training mode; what others may ask of a block is there."""
    net = Written(Dropping())
    result = fold(net, [batch])
    assert result.sites["folded"].tolist() == ["forwards"]
    assert result.model.block.stride == 1
    result.save(tmp_path / "folded.safetensors", {"model": "python:mine:make"})
    loaded = stripe.load(tmp_path / "folded.safetensors", Written(Dropping()).train())
    with torch.inference_mode():
        assert torch.equal(loaded(batch[0]), result.model(batch[0]))


def test_blocks_that_are_not_chosen_stay_as_they_are(batch: tuple[Tensor, Tensor]) -> None:
    net = Written(nn.Sequential(Block(), Block()))
    result = fold(net, [batch], sites="block.1")
    assert result.sites["folded"].tolist() == ["kept", "backwards"]
    assert type(result.model.block[0]) is Block
    assert result.folded["outlined"] == [["block.1", 0, 1]]


def test_training_afterwards(batch: tuple[Tensor, Tensor]) -> None:
    result = fold(Written(Two()), [batch], finetuning=Finetune([batch], 2))
    assert result.sites["folded"].tolist() == ["backwards", "not foldable", "left"]
    assert all(parameter.requires_grad for parameter in result.model.parameters())


@pytest.mark.parametrize("chosen", ["all", "block", "block#3"])
def test_loaded_again_it_is_the_same(chosen: str, batch: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    net = Written(Two())
    result = fold(net, [batch], sites=chosen)
    result.save(tmp_path / "folded.safetensors", {"model": "python:mine:make"})
    blank = copy.deepcopy(net)
    for parameter in blank.parameters():
        nn.init.constant_(parameter, 0.5)
    loaded = stripe.load(tmp_path / "folded.safetensors", blank)
    with torch.inference_mode():
        assert torch.equal(loaded(batch[0]), result.model(batch[0]))


class Given(Written):
    """The model computes the gate, and a block multiplies."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc(self.block(x, torch.sigmoid(x.mean((2, 3), keepdim=True))).mean((2, 3)))


class Product(nn.Module):
    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return torch.mul(gate, x)


@pytest.mark.parametrize(
    "make", [lambda: Written(OfTheInput()), lambda: InTheModel(Excite()), lambda: Given(Product())]
)
def test_gates_of_another_map_and_in_the_models_own_forward(make, batch: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """What only the gate needs is gone; the file loads into the network as it was written."""
    net = make().eval()
    result = fold(net, [batch], sequential=True, frontier=True, win_back="scale")
    assert result.sites["folded"].tolist() == ["backwards"]
    left = result.model.state_dict()
    assert not [name for name in left if "fc1" in name or "fc2" in name or "block.fc" in name]
    result.save(tmp_path / "folded.safetensors", {"model": "python:mine:make"})
    loaded = stripe.load(tmp_path / "folded.safetensors", make())
    with torch.inference_mode():
        assert torch.equal(loaded(batch[0]), result.model(batch[0]))
    assert loaded.state_dict().keys() == left.keys()


def test_the_constant_of_a_gate_of_another_map_is_its_mean(batch: tuple[Tensor, Tensor]) -> None:
    net = Written(OfTheInput()).eval()
    with torch.no_grad():
        x = net.stem(batch[0])
        mean = net.block.squeeze(x).mean((0, 2, 3))
        torch.testing.assert_close(fold(net, [batch]).model.block.bn.weight, net.block.bn.weight * mean)


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (
            Written(Branching()),
            "block does more than .*, and its forward cannot be traced .symbolically traced variables",
        ),
        (Written(InPlaceGate()), "no part of it does that alone"),
    ],
)
def test_others_are_refused_with_a_reason(net: nn.Module, reason: str, batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(StripeError, match=reason):
        fold(net, [batch])


class Lengths(Block):
    """Sizes are asked for, tensors made of them, and branches gone through."""

    def __init__(self) -> None:
        super().__init__()
        self.other, self.fc = nn.Conv2d(C, C, 1), nn.Conv2d(C, 2 * C, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [F.relu(self.bn(self.conv(x))), F.relu(self.other(x))]
        pooled = sum(branches).mean((2, 3), keepdim=True) + torch.zeros(len(x), C, 1, 1, dtype=x.dtype)
        gates = self.fc(pooled).reshape(len(x), 2, C, 1).softmax(1).chunk(2, dim=1)
        first, second = (branch * gate.reshape(len(x), C, 1, 1) for branch, gate in zip(branches, gates, strict=True))
        return first + second


def test_sizes_and_branches_in_a_forward(batch: tuple[Tensor, Tensor]) -> None:
    net = Written(Lengths()).eval()
    result = fold(net, [batch])
    assert result.sites["into"].tolist() == ["block.bn", "block.other"]
    with torch.no_grad():
        x = net.stem(batch[0])
        first, second = F.relu(net.block.bn(net.block.conv(x))), F.relu(net.block.other(x))
        pooled = (first + second).mean((2, 3), keepdim=True)
        gates = net.block.fc(pooled).reshape(len(x), 2, C, 1).softmax(1).mean(0)
        wanted = net.fc((first * gates[0, :, :, None] + second * gates[1, :, :, None]).mean((2, 3)))
    torch.testing.assert_close(result.model(batch[0]), wanted)
    assert "len" not in globals()
    assert torch.zeros(2).tolist() == [0, 0]


class Memory(nn.Module):
    """One gate for several blocks, which remembers the blocks before, as in DIANet (Huang et al., 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.state = nn.LSTMCell(C, C), None

    def forward(self, x: Tensor, first: bool) -> Tensor:
        pooled = x.mean((2, 3))
        self.state = self.cell(pooled, None if first else self.state)
        return x * self.state[0].sigmoid()[:, :, None, None]


class Remembering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate, self.fc = nn.Conv2d(3, C, 3), Memory(), nn.Linear(C, 5)
        self.norms = nn.ModuleList(nn.Sequential(nn.Conv2d(C, C, 1), nn.BatchNorm2d(C)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for number, norm in enumerate(self.norms):
            x = (x + self.gate(norm(x), number == 0)).relu()
        return self.fc(x.mean((2, 3)))


def test_a_gate_that_remembers_its_calls(batch: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    net = Remembering().eval()
    result = fold(net, [batch])
    assert result.sites["into"].tolist() == ["norms.0.1", "norms.1.1", "norms.2.1"]
    assert not [name for name in result.model.state_dict() if "cell" in name]
    with torch.no_grad():
        x, state, means = net.stem(batch[0]), None, []
        for norm in net.norms:
            y = norm(x)
            state = net.gate.cell(y.mean((2, 3)), state)
            gate = state[0].sigmoid()[:, :, None, None]
            means.append(gate.mean((0, 2, 3)))
            x = (x + y * gate).relu()
    for name, mean in zip(result.sites["into"], means, strict=True):
        weight = net.get_submodule(name).weight * mean
        torch.testing.assert_close(result.model.get_submodule(name).weight, weight, rtol=1e-4, atol=1e-5)
    result.save(tmp_path / "folded.safetensors", {"model": "python:mine:make"})
    loaded = stripe.load(tmp_path / "folded.safetensors", Remembering())
    with torch.inference_mode():
        assert torch.equal(loaded(batch[0]), result.model(batch[0]))


def test_some_calls_of_a_shared_gate(batch: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """The others keep the gate, which is one module still, and one set of weights in the file."""
    net = Remembering().eval()
    result = fold(net, [batch], sites="gate#3")
    assert result.sites["folded"].tolist() == ["kept", "kept", "backwards"]
    assert sum(p.numel() for p in result.model.parameters()) == sum(p.numel() for p in net.parameters())
    result.save(tmp_path / "folded.safetensors", {"model": "python:mine:make"})
    loaded = stripe.load(tmp_path / "folded.safetensors", Remembering())
    with torch.inference_mode():
        assert torch.equal(loaded(batch[0]), result.model(batch[0]))
