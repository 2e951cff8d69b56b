"""Against the outputs of the official ASR code, where its reference files lie beside the repository."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stripe import checkpoint
from stripe.attention import Attention
from stripe.models import build

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="no reference files")


@pytest.mark.parametrize(("name", "attention"), [("plain", "none"), ("se", "se")])
def test_official_checkpoints_give_the_official_outputs(name: str, attention: str) -> None:
    expected = np.load(REFERENCE / f"resnet20-{name}.npz")
    official = checkpoint.read(REFERENCE / f"resnet20-{name}.pth.tar")
    model = build("resnet20", num_classes=10, attention=attention).eval()

    assert official.epoch == 2
    assert checkpoint.load_into(model, official) == []
    values = {}
    for path, module in model.named_modules():
        if isinstance(module, Attention):
            module.register_forward_hook(
                lambda module, args, output, path=path: values.update({path: module.gate(args[0])})
            )
    with torch.no_grad():
        logits = model(torch.from_numpy(expected["inputs"])).numpy()

    for key in ("logits_deployed", "logits_undeployed"):
        np.testing.assert_allclose(logits, expected[key], rtol=0, atol=1e-5)
    recorded = [key for key in expected.files if key.startswith("attention/")]
    assert sorted(recorded) == sorted(f"attention/{path}" for path in values)
    for key in recorded:
        gate = values[key.removeprefix("attention/")][:, :, 0, 0].numpy()
        np.testing.assert_allclose(gate, expected[key], rtol=0, atol=1e-5)
