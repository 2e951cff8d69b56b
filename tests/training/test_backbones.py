"""Every backbone of the paper × SE, in every mode: built, trained for a step, fused, compared."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from stripe import asr, models
from stripe.training import network

# The paper's backbones (tables 2, 3, 4, 6), and a side at which their last maps have an extent of one or two pixels.
BACKBONES = {
    "resnet83": 8,
    "resnet164": 8,
    "vgg19": 32,
    "shufflenetv2": 32,
    "mobilenet": 32,
    "repvgg_a0": 32,
    "repvgg_b3": 16,
    "resnet56-acnet": 8,
    "resnet110-acnet": 8,
    "timm:resnet34": 64,
    "timm:resnet50": 64,
    "timm:resnet101": 64,
    "timm:vit_small_patch16_224": 32,
    "timm:vit_base_patch16_224": 32,
}

NARROW = {
    "timm:resnet": {"channels": [16, 32, 48, 64]},
    "timm:vit": {"img_size": 32, "embed_dim": 96, "num_heads": 6},
}
"""Arguments of large networks: as deep as they are, with few channels."""

MODES = ("none", "attention", "asr", "both")

CASES = [
    pytest.param(name, mode, marks=pytest.mark.slow) if "b3" in name else (name, mode)
    for name in BACKBONES
    for mode in MODES
    # RepVGG-B3, of 123 million parameters, takes seconds; RepVGG-A0 is the same but for the numbers of its blocks.
    if "b3" not in name or mode == "both"
]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_training_step_and_fusing(name: str, mode: str) -> None:
    side = BACKBONES[name]
    args: dict[str, Any] = next((values for start, values in NARROW.items() if name.startswith(start)), {})
    described = network.describe(name, mode=mode, attention="se", num_classes=3, args=args)
    model = network.build(described)
    images, labels = torch.randn(2, 3, side, side), torch.tensor([0, 2])
    # So small that the step changes the weights and no map overflows after it.
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    with asr.cached():
        F.cross_entropy(model(images), labels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert sum(p.grad.abs().sum() for p in model.parameters() if p.grad is not None) > 0
    optimizer.step()

    model.eval()
    with torch.no_grad():
        trained = model(images)
        fused = asr.fuse(model, inplace=True)  # in place: the largest take half a gigabyte
        assert torch.allclose(fused(images), trained, rtol=1e-5, atol=1e-5)
        assert trained.isfinite().all()
        plain = models.build(name, num_classes=3, attention=described["attention"], args=args)
        assert fused.state_dict().keys() == plain.state_dict().keys()
        if models.fuse_branches(fused):
            assert torch.allclose(fused(images), trained, rtol=1e-4, atol=1e-4)
