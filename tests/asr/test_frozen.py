"""ASR in frozen batch normalisations, whose weight and bias are buffers; what is folded into them."""

import pytest
import torch
import torchvision
from timm.layers import FrozenBatchNormAct2d
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from stripe import asr
from stripe.errors import StripeError
from stripe.fold.recovery import correct_biases
from stripe.fold.sample import Sample
from stripe.fold.sites import find_foldable
from stripe.fold.weights import fold_gates
from stripe.models.dataflow import follow
from stripe.models.frozen_norm import as_batch_norm, is_frozen_norm
from stripe.models.surgery import ConstantGate

C = 6


class OwnFrozenBatchNorm2d(nn.Module):
    """As DETR writes it: the small number stands in its forward, and it knows no activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale.view(1, -1, 1, 1) + (self.bias - self.running_mean * scale).view(1, -1, 1, 1)


KINDS = (FrozenBatchNorm2d, FrozenBatchNormAct2d, OwnFrozenBatchNorm2d)


def filled(kind: type[nn.Module]) -> nn.Module:
    norm = kind(C)
    for name, buffer in norm.named_buffers():
        buffer.uniform_(0.5, 1.5) if name == "running_var" else buffer.normal_()
    return norm


class Net(nn.Module):
    """Convolution, frozen normalisation, a constant, ReLU, convolution."""

    def __init__(self, kind: type[nn.Module], gate: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.gate, self.head = nn.Conv2d(3, C, 3), filled(kind), gate, nn.Conv2d(C, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.gate(self.norm(self.conv(x)))))


@pytest.mark.parametrize("kind", KINDS)
def test_asr_scales_weight_and_bias(kind) -> None:
    net, images = Net(kind, nn.Identity()), torch.randn(2, 3, 8, 8)
    keys, before = list(net.state_dict()), net.norm(net.conv(images)).detach()
    assert asr.reparameterize(net, "norm", "se", psi=1.0) == ["norm"]
    value = asr.values(net)["norm"]
    # What comes after the normalisation, an activation of timm's that lets positive factors pass included.
    torch.testing.assert_close(net.norm(net.conv(images)), before * value[:, None, None])
    net(images).square().mean().backward()
    psi = next(parameter for name, parameter in net.named_parameters() if name.endswith("psi"))
    assert psi.grad is not None
    fused = asr.fuse(net)
    assert list(fused.state_dict()) == keys
    assert type(fused.norm) is kind
    assert {name for name, _ in fused.norm.named_buffers()} == {"weight", "bias", "running_mean", "running_var"}
    assert torch.equal(fused(images), net(images))


def test_places_in_the_backbone_of_a_detector() -> None:
    backbone = torchvision.models.resnet18(norm_layer=FrozenBatchNorm2d)
    names = asr.reparameterize(nn.Sequential(backbone))
    assert names == [f"0.layer{stage}.{block}.bn2" for stage in (1, 2, 3, 4) for block in (0, 1)]


def test_places_by_the_rule() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), FrozenBatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x + self.norm(self.conv(x)))

    assert asr.reparameterize(nn.Sequential(Residual(), Residual())) == ["0.norm", "1.norm"]


def test_a_shared_buffer_is_refused() -> None:
    model = nn.Sequential(FrozenBatchNorm2d(4), FrozenBatchNorm2d(4))
    model[1].weight = model[0].weight
    with pytest.raises(StripeError, match="0 shares its weight with another layer"):
        asr.reparameterize(model, "0")


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_is_folded_into_it(kind) -> None:
    gate = ConstantGate(torch.rand(C) + 0.2, -3)
    net, images = Net(kind, gate).eval(), torch.randn(2, 3, 8, 8)
    before, expected = net.norm.weight.clone(), net(images)
    landing = fold_gates(net, images)["gate"]
    assert (landing.where, landing.layers) == ("backwards", ("norm",))
    torch.testing.assert_close(net.norm.weight, before * gate.weight)
    torch.testing.assert_close(net(images), expected)


def test_a_weight_that_is_not_saved_takes_nothing() -> None:
    net = Net(FrozenBatchNorm2d, ConstantGate(torch.rand(C) + 0.2, -3)).eval()
    weight = net.norm.weight
    del net.norm.weight
    net.norm.register_buffer("weight", weight, persistent=False)
    assert fold_gates(net, torch.randn(2, 3, 8, 8))["gate"].where == "forwards"


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_flow_shows_a_batch_normalisation(kind) -> None:
    net, images = Net(kind, nn.Identity()).eval(), torch.randn(2, 3, 8, 8)
    assert [call.name for call in follow(net, images) if call.module == "norm"] == ["batch_norm"]
    assert "forward" not in vars(net.norm)
    with as_batch_norm(net):
        same = net(images)
    torch.testing.assert_close(same, net(images))


def test_its_bias_is_corrected() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(C, C)
            nn.init.normal_(self.fc.weight, 0, 4)

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(self.fc(x.mean((2, 3))))[..., None, None]

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.att = nn.Conv2d(3, C, 3), Gated()
            self.conv2, self.norm = nn.Conv2d(C, C, 1, bias=False), filled(FrozenBatchNorm2d)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv2(self.att(self.conv(x)))).mean((2, 3))

    torch.manual_seed(0)
    net, images = Deep().eval(), torch.randn(16, 3, 6, 6)
    places, _, _ = find_foldable(net, images)
    constant = Deep().eval()
    constant.load_state_dict(net.state_dict())
    constant.att = ConstantGate(torch.full((C,), 0.5), -3)
    batches = Sample([images], constant, "images")
    assert correct_biases(constant, net, places, batches) == 1
    torch.testing.assert_close(constant(images).mean(0), net(images).mean(0))


@pytest.mark.parametrize("module", [nn.BatchNorm2d(4), nn.Conv2d(3, 4, 1), nn.Identity()])
def test_others_are_not_frozen(module: nn.Module) -> None:
    assert not is_frozen_norm(module)
