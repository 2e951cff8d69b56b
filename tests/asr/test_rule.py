"""Where ASR goes by the paper's rule, in small networks each written another way, and in those of libraries."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from stripe import asr
from stripe.errors import StripeError


def conv_norm(channels: int = 8, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, kernel, stride, kernel // 2), nn.BatchNorm2d(channels))


class Block(nn.Module):
    """conv, norm, relu, conv, norm; what comes then is a function of the input and of that."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], stride: int = 1) -> None:
        super().__init__()
        self.first, self.second, self.join = conv_norm(stride=stride), conv_norm(), join
        self.drop = DropPath(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x, self.drop(self.second(F.relu(self.first(x)))))


def net(*blocks: nn.Module) -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def in_place(x: Tensor, branch: Tensor) -> Tensor:
    branch += x
    return branch


ADDITIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "x + branch": lambda x, branch: x + branch,
    "branch + x": lambda x, branch: branch + x,
    "torch.add": lambda x, branch: torch.add(x, branch),
    "torch.add, scaled": lambda x, branch: torch.add(x, branch, alpha=0.5),
    "add": lambda x, branch: x.add(branch),
    "add_": lambda x, branch: branch.add_(x),
    "+=": in_place,
    "relu after it": lambda x, branch: F.relu(x + branch),
    "relu before it": lambda x, branch: x + F.relu(branch),
    "scaled": lambda x, branch: x + 0.2 * branch,
    "sum": lambda x, branch: sum((x, branch)),
    "a gate": lambda x, branch: x + branch * branch.mean((2, 3), keepdim=True).sigmoid(),
    "an expanded gate": lambda x, branch: x + branch.mean((2, 3), keepdim=True).sigmoid().expand_as(branch) * branch,
    "a pooled shortcut": lambda x, branch: F.avg_pool2d(x, 3, 1, 1) + branch,
}


@pytest.mark.parametrize("how", ADDITIONS)
def test_the_last_normalisation_before_the_addition(how: str) -> None:
    places = asr.known_places(net(Block(ADDITIONS[how]), Block(ADDITIONS[how])))
    assert places.groups == [("1.second.1",), ("2.second.1",)]
    assert (places.psi, places.activation, places.init) == (0.1, None, None)
    assert "places by the rule: the last layer of each residual branch" in places.note


class Projected(Block):
    """The shortcut is a convolution and its normalisation."""

    def __init__(self) -> None:
        super().__init__(lambda x, branch: x + branch, stride=2)
        self.project = conv_norm(kernel=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.project(x) + self.second(F.relu(self.first(x))))


class PreActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.conv1, self.norm2, self.conv2 = (
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


class Squeezed(Block):
    """Attention with normalisations of its own, which feed nothing but the gate."""

    def __init__(self) -> None:
        super().__init__(lambda x, branch: x + branch)
        self.squeeze = nn.Sequential(conv_norm(kernel=1), nn.ReLU(), conv_norm(kernel=1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        branch = self.second(F.relu(self.first(x)))
        return x + branch * self.squeeze(branch.mean((2, 3), keepdim=True))


class LayerScaled(nn.Module):
    """As ConvNeXt: depthwise convolution, norm, two linear layers, a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.LayerNorm(8)
        self.fc1, self.fc2, self.gamma = nn.Linear(8, 16), nn.Linear(16, 8), nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc2(F.gelu(self.fc1(self.norm(self.conv(x).permute(0, 2, 3, 1)))))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


class Positioned(nn.Module):
    """A convolution that says where a token is, with no normalisation: no branch of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.position, self.block = nn.Conv2d(8, 8, 3, padding=1, groups=8), Block(lambda x, branch: x + branch)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x + self.position(x))


class Split(nn.Module):
    """A branch that ends in a concatenation: each part has its own."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = conv_norm()
        self.left = nn.Sequential(nn.Conv2d(8, 3, 1), nn.BatchNorm2d(3))
        self.right = nn.Sequential(nn.Conv2d(8, 5, 1), nn.BatchNorm2d(5))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.whole(x))
        return x + torch.cat([self.left(y), self.right(y)], 1)


class Branched(nn.Module):
    """Parts of one layer that are added up, RepVGG's: with an activation behind."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow, self.itself = conv_norm(), conv_norm(kernel=1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(0 + self.wide(x) + self.narrow(x) + self.itself(x))


class Twice(Block):
    """Its last normalisation also runs elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.second(F.relu(self.first(x)))))


class Appended(nn.Module):
    """As RDNet: concatenated with its input, and no normalisation in front of an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.ReLU()), nn.Conv2d(8, 4, 1)
        self.last = nn.Conv2d(12, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([x, self.second(self.first(x))], 1))


def test_branches_that_are_concatenated() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), Appended(), Appended())
    places = asr.known_places(model)
    assert places.groups == [("1.second",), ("2.second",)]
    assert "concatenated with its input" in places.note


@pytest.mark.parametrize(
    ("block", "groups"),
    [
        (Projected, [("1.second.1",)]),
        (PreActivation, [("1.conv2",)]),
        (Squeezed, [("1.second.1",)]),
        (LayerScaled, [("1.fc2",)]),
        (Positioned, [("1.block.second.1",)]),
        (Split, [("1.left.1",), ("1.right.1",)]),
        (Branched, [("0.1",), ("1.wide.1", "1.narrow.1", "1.itself")]),
        (lambda: nn.Sequential(conv_norm(), nn.ReLU(), conv_norm()), [("0.1",), ("1.0.1",)]),
    ],
)
def test_other_blocks(block: Callable[[], nn.Module], groups: list[tuple[str, ...]]) -> None:
    assert asr.known_places(net(block())).groups == groups


def test_a_layer_that_runs_twice_leaves_it_to_the_one_before() -> None:
    model = net(Twice(lambda x, y: x), Block(ADDITIONS["add"]))
    assert asr.known_places(model).groups == [("1.first.1",), ("2.second.1",)]


def test_norms_outside_of_branches_where_most_are() -> None:
    plain = [nn.Sequential(conv_norm(), nn.ReLU()) for _ in range(2)]
    places = asr.known_places(net(*plain, Block(ADDITIONS["add"])))
    assert places.groups == [("0.1",), ("1.0.1",), ("2.0.1",), ("3.second.1",)]
    assert "outside of them" in places.note


class Encoder(nn.Module):
    def __init__(self, post: bool = False) -> None:
        super().__init__()
        self.post = post
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj((q @ k.transpose(1, 2)).softmax(-1) @ v)

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = x + self.norm1(self.attend(x))
            return x + self.norm2(self.mlp(x))
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, post: bool = False) -> None:
        super().__init__()
        self.patches, self.position = nn.Conv2d(3, 8, 8, 8), nn.Parameter(torch.zeros(1, 16, 8))
        self.blocks, self.head = nn.Sequential(Encoder(post), Encoder(post)), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position  # 32 pixels
        return self.head(self.blocks(x).mean(1))


def test_transformers_begin_as_vit() -> None:
    places = asr.known_places(Transformer())
    assert places.groups == [(f"blocks.{i}.{layer}",) for i in range(2) for layer in ("proj", "mlp.2")]
    assert (places.psi, places.activation, places.init) == (1e-3, "tanh", 1e-3)


def test_transformers_whose_branches_end_in_a_normalisation() -> None:
    places = asr.known_places(Transformer(post=True))
    assert places.groups == [(f"blocks.{i}.{layer}",) for i in range(2) for layer in ("norm1", "norm2")]
    assert (places.psi, places.activation) == (0.1, None)


class Picky(nn.Module):
    """Takes one size and number of channels alone, and says so in no attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net(Block(ADDITIONS["add"]))

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (6, 40, 40)
        return self.net(x[:, :3])


def test_images_that_nobody_guesses() -> None:
    with pytest.raises(StripeError, match="it does not run on images of 224 pixels"):
        asr.known_places(Picky())
    assert asr.known_places(Picky(), torch.rand(1, 6, 40, 40)).groups == [("net.1.second.1",)]


class WithValues(nn.Module):
    """Looks at numbers, which fake tensors don't have."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net(Block(ADDITIONS["add"]))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if float(x.sum()) >= 0 else x


def test_networks_that_look_at_numbers() -> None:
    assert asr.known_places(WithValues()).groups == [("net.1.second.1",)]


class Remembering(nn.Module):
    """Keeps something of each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.last = net(Block(ADDITIONS["add"])), torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.net(x)
        return self.last


def test_the_network_stays_as_it_was() -> None:
    model = Remembering()
    model(torch.rand(2, 3, 16, 16))  # so it keeps a tensor with a graph, which cannot be copied
    before, kept = copy.copy(model.state_dict()), model.last
    assert asr.known_places(model).groups == [("net.1.second.1",)]
    assert model.training
    assert model.last is kept
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_not_twice() -> None:
    model = net(Block(ADDITIONS["add"]))
    asr.reparameterize(model)
    with pytest.raises(StripeError, match=r"1\.second\.1 already has ASR"):
        asr.reparameterize(model)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_in_other_modes(mode) -> None:
    with mode():
        assert asr.known_places(net(Block(ADDITIONS["add"]))).groups == [("1.second.1",)]


class Wrapped(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: list[Tensor]) -> dict[str, Tensor]:
        return {"logits": self.net(torch.stack(images))}


@pytest.mark.parametrize(
    ("make", "first"),
    [
        (lambda: Wrapped(torchvision.models.resnet18()), ("net.layer1.0.bn2",)),
        (lambda: nn.DataParallel(torchvision.models.resnet18()), ("module.layer1.0.bn2",)),
        (lambda: Wrapped(timm.create_model("vit_tiny_patch16_224", depth=1)), ("net.blocks.0.attn.proj",)),
        (lambda: timm.create_model("resnet18", features_only=True), ("layer1.0.bn2",)),
        (
            lambda: torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None),
            ("backbone.body.layer1.0.bn3",),
        ),
    ],
)
def test_known_networks_inside_others(make: Callable[[], nn.Module], first: tuple[str, ...]) -> None:
    with torch.device("meta"):
        model = make()
    places = asr.known_places(model)
    assert places.groups[0] == first
    assert not places.note


def test_a_network_of_ones_own_derived_from_a_known_one() -> None:
    class Mine(torchvision.models.ResNet):
        pass

    model = Mine(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
    assert asr.known_places(model).groups[0] == ("layer1.0.bn2",)


# name → what builds it, images, number of places, the first and the last
LIBRARIES: dict[str, tuple[Callable[[], nn.Module], int, int, str, str]] = {
    "torchvision efficientnet": (torchvision.models.efficientnet_b0, 32, 9, "features.2.1.block.3.1", ""),
    "torchvision regnet": (torchvision.models.regnet_y_400mf, 32, 16, "trunk_output.block1.block1-0.f.c.1", ""),
    "torchvision mobilenet v3": (torchvision.models.mobilenet_v3_small, 32, 6, "features.3.block.2.1", ""),
    "timm convnext": (
        lambda: timm.create_model("convnext_atto"),
        32,
        12,
        "stages.0.blocks.0.mlp.fc2",
        "stages.3.blocks.1.mlp.fc2",
    ),
    "timm resnet v2": (
        lambda: timm.create_model("resnetv2_18"),
        32,
        8,
        "stages.0.blocks.0.conv2",
        "stages.3.blocks.1.conv2",
    ),
    "timm regnet": (lambda: timm.create_model("regnetx_002"), 32, 13, "s1.b1.conv3.bn", "s4.b7.conv3.bn"),
    "timm gernet": (
        lambda: timm.create_model("gernet_s"),
        32,
        14,
        "stages.0.0.conv2_kxk.bn",
        "stages.4.0.conv3_1x1.bn",
    ),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_networks_of_libraries_fused_into_the_plain_ones(name: str, caplog: pytest.LogCaptureFixture) -> None:
    make, side, count, first, last = LIBRARIES[name]
    torch.manual_seed(0)
    model = make().eval()
    plain = list(model.state_dict())
    names = asr.reparameterize(model, psi="N1")
    assert (len(names), names[0]) == (count, first)
    assert not last or names[-1] == last
    assert "places by the rule" in caplog.text
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        assert torch.equal(asr.fuse(model)(images), model(images))
    assert list(asr.fuse(model).state_dict()) == plain
