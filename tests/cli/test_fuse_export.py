import json
from pathlib import Path

import onnxruntime
import torch

from stripe import asr, checkpoint
from stripe.models import build


def test_exports_lie_beside_the_fused_file(run, tmp_path: Path) -> None:
    model = build("resnet11", num_classes=3)
    asr.reparameterize(model, psi="N1")
    meta = {"model": "resnet11", "num_classes": 3, "asr": {}, "image_size": 8, "classes": ["a", "b", "c"]}
    checkpoint.save(tmp_path / "trained.safetensors", model, meta)
    result = run(
        *("fuse", "--ckpt", "trained.safetensors", "-o", "out/net.safetensors"),
        *("--export", "onnx", "--export", "torch", "--format", "json"),
    )
    assert len(json.loads(result.stdout)) == 2
    assert "out/net.pt2: outputs differ by 0.0e+00 (relative)" in result.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["net.onnx", "net.pt2", "net.safetensors"]
    images = torch.randn(4, 3, 8, 8)
    session = onnxruntime.InferenceSession("out/net.onnx")
    outputs = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    assert json.loads(session.get_modelmeta().custom_metadata_map["stripe"])["classes"] == ["a", "b", "c"]
    with torch.no_grad():
        torch.testing.assert_close(outputs, model.eval()(images), rtol=1e-4, atol=1e-5)
