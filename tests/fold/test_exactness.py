"""Where the gate ignores its input, folding changes nothing, whatever the weights are."""

from collections import Counter

import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from stripe import models
from stripe.fold import fold
from stripe.fold.batches import Batches
from stripe.fold.calibration import calibrate
from stripe.fold.sites import find_foldable, put_gates
from stripe.fold.weights import fold_gates
from stripe.models.surgery import ConstantGate

SIZE = 64

# network → how many sites are folded backwards, forwards, left, and how many cannot be
NETWORKS = {
    "timm:seresnet50": (16, 0, 0, 0),
    "timm:ecaresnet26t": (8, 0, 0, 0),
    "timm:efficientnet_b0": (0, 16, 0, 0),
    "timm:mobilenetv3_small_100": (1, 8, 0, 0),
    "timm:regnety_002": (13, 0, 0, 0),
    "timm:repvit_m0_9": (10, 0, 0, 0),
    "timm:resnet26 with cbam": (8, 0, 0, 8),
    "timm:nf_ecaresnet26": (0, 0, 8, 0),
    "torchvision:efficientnet_b0": (0, 16, 0, 0),
    "torchvision:mobilenet_v3_large": (3, 5, 0, 0),
    "torchvision:regnet_y_400mf": (16, 0, 0, 0),
    "resnet29+se": (9, 0, 0, 0),
    "resnet29+eca": (9, 0, 0, 0),
    "resnet29+cbam": (9, 0, 0, 9),
    "repvgg_a0+se": (22, 0, 0, 0),
}


def build(name: str) -> nn.Module:
    if name == "timm:resnet26 with cbam":
        return timm.create_model("resnet26", block_args={"attn_layer": "cbam"})
    spec, _, attention = name.partition("+")
    return models.build(spec, attention=attention or "none")


def randomise(model: nn.Module) -> None:
    """Nothing is trivially an identity."""
    for norm in model.modules():
        if isinstance(norm, _BatchNorm):
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.3)


def make_constant(attention: nn.Module) -> None:
    """The last layer of the gate gets no weights, only a random bias."""
    last = [layer for layer in attention.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    last.bias = nn.Parameter(torch.randn(len(last.weight)))


# Some take several seconds: sixteen folds of a ResNet50, each tried in float64.
@pytest.mark.parametrize("name", NETWORKS)
def test_constant_gates_fold_exactly(name: str) -> None:
    @settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**31))
    def check(seed: int) -> None:
        torch.manual_seed(seed)
        images = torch.randn(2, 3, SIZE, SIZE)
        model = build(name).eval()
        randomise(model)
        places, reasons, sites = find_foldable(model, images)
        for place in places:
            make_constant(model.get_submodule(place.module))
        with torch.no_grad():
            wanted = model(images)
        moments = calibrate(model, sites, Batches([images], model, "images"))
        put_gates(model, places, {place.site.name: moments[place.site.name].mean for place in places})
        landings = fold_gates(model, images)
        with torch.no_grad():
            assert (model(images) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
        counts = Counter(landing.where for landing in landings.values())
        assert (counts["backwards"], counts["forwards"], counts["left"], len(reasons)) == NETWORKS[name]
        left = [module for module in model.modules() if isinstance(module, ConstantGate)]
        assert len(left) == counts["left"]

    check()


def test_the_attention_is_gone() -> None:
    """The folded network has the plain one's parameters, name by name."""
    plain, model = models.build("resnet29"), models.build("resnet29", attention="se")
    folded = fold(model, [torch.randn(2, 3, 32, 32)]).model
    assert {name: p.shape for name, p in folded.named_parameters()} == {
        name: p.shape for name, p in plain.named_parameters()
    }
