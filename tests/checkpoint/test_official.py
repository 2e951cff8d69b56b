"""Checkpoints of the official ASR code, where its reference files lie beside the repository."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stripe import asr, checkpoint
from stripe.attention import Attention
from stripe.checkpoint import Checkpoint
from stripe.models import build

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
CIFAR10 = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}  # in the official data loaders
reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="no reference files")


@reference
@pytest.mark.parametrize("kind", ["plain", "se", "asr", "both"])
def test_they_give_the_official_outputs(kind: str) -> None:
    expected = np.load(REFERENCE / f"resnet20-{kind}.npz")
    images = torch.from_numpy(expected["inputs"])
    model = asr.restore(checkpoint.read(REFERENCE / f"resnet20-{kind}.pth.tar")).eval()
    gates = {}
    for path, module in model.named_modules():
        if isinstance(module, Attention) and ".asr." not in path:
            module.register_forward_hook(lambda m, args, _, path=path: gates.update({path: m.gate(args[0])}))
    fused = asr.fuse(model)
    with torch.no_grad():
        logits, again = model(images).numpy(), fused(images).numpy()

    for key in ("logits_undeployed", "logits_deployed"):
        np.testing.assert_allclose(logits, expected[key], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(again, logits)
    found = {f"attention/{path}": gate[:, :, 0, 0] for path, gate in gates.items()}
    found |= {f"asr_value/{name}": value for name, value in asr.values(model).items()}
    assert sorted(found) == sorted(key for key in expected.files if "/" in key)
    for key, value in found.items():
        np.testing.assert_allclose(value.detach().numpy(), expected[key], rtol=0, atol=1e-5)


@reference
@pytest.mark.parametrize(("kind", "attention"), [("asr", "none"), ("both", "se")])
def test_the_fused_network_is_a_plain_one(kind: str, attention: str) -> None:
    fused = asr.fuse(asr.restore(checkpoint.read(REFERENCE / f"resnet20-{kind}.pth.tar")))
    plain = build("resnet20", attention=attention)
    assert list(fused.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(fused.state_dict())


@reference
@pytest.mark.parametrize(
    ("kind", "attention", "kappa"),
    [("plain", "none", None), ("se", "se", None), ("asr", "none", "se"), ("both", "se", "se")],
)
def test_the_keys_say_what_it_is(kind: str, attention: str, kappa: str | None) -> None:
    meta = checkpoint.translate(checkpoint.read(REFERENCE / f"resnet20-{kind}.pth.tar")).meta
    assert meta == {
        "model": "resnet20",
        "num_classes": 10,
        "attention": attention,
        **CIFAR10,
        **({"asr": {"attention": kappa}} if kappa else {}),
    }


@reference
def test_what_is_left_after_the_official_deletion() -> None:
    read = checkpoint.read(REFERENCE / "resnet20-asr.pth.tar")
    left = {k: v for k, v in read.state_dict.items() if ".bn3." not in k or ".fused_bn." in k}
    model = asr.restore(Checkpoint(read.path, left, read.epoch, {})).eval()
    expected = np.load(REFERENCE / "resnet20-asr.npz")
    with torch.no_grad():
        logits = model(torch.from_numpy(expected["inputs"])).numpy()
    np.testing.assert_allclose(logits, expected["logits_deployed"], rtol=0, atol=1e-5)
    assert not asr.values(model)


@pytest.mark.parametrize("depth", [11, 29])
@pytest.mark.parametrize("attention", ["none", "se", "srm", "cbam", "dia"])
def test_depth_classes_and_attention_are_read_from_the_keys(depth: int, attention: str) -> None:
    state = build(f"resnet{depth}", num_classes=7, attention=attention).state_dict()
    meta = checkpoint.translate(Checkpoint(Path("x.pth"), state, None, {})).meta
    assert meta == {"model": f"resnet{depth}", "num_classes": 7, "attention": attention, **CIFAR10}


@pytest.mark.parametrize(
    "keys",
    [
        {"fc.weight": torch.zeros(2, 2)},
        {
            "conv1.weight": torch.zeros(64, 3, 7, 7),
            "fc.weight": torch.zeros(2, 2),
            "layer1.0.conv3.weight": torch.zeros(1),
        },
        {f"layer{stage}.0.conv3.weight": torch.zeros(1) for stage in (1, 2, 3)},
    ],
)
def test_other_checkpoints_stay_as_they_are(keys: dict) -> None:
    other = Checkpoint(Path("x.pth"), keys, None, {})
    assert checkpoint.translate(other) is other
    ours = Checkpoint(Path("x.safetensors"), build("resnet11").state_dict(), None, {"model": "resnet11"})
    assert checkpoint.translate(ours) is ours
