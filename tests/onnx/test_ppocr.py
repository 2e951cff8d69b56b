"""The three networks of ``rapidocr-onnxruntime``, which others trained: their gates, as onnxruntime computes them."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stripe.capture import capture, open_capture
from stripe.onnx import load, read, write
from tests.onnx.files import onnx

runtime = pytest.importorskip("onnxruntime")
found = importlib.util.find_spec("rapidocr_onnxruntime")
if found is None or found.origin is None:
    pytest.skip("rapidocr-onnxruntime is not installed", allow_module_level=True)
MODELS = Path(found.origin).parent / "models"

NETWORKS = {
    "ch_PP-OCRv4_det_infer": (10, (64, 96)),
    "ch_ppocr_mobile_v2.0_cls_infer": (9, (48, 96)),
    "ch_PP-OCRv4_rec_infer": (2, (48, 64)),
}


def session(model: Any) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def gates(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Name of a multiplication → its gate, made an output of the graph: what comes from a ``HardSigmoid`` there."""
    model = onnx.load(path)
    made = {node.output[0] for node in model.graph.node if node.op_type == "HardSigmoid"}
    taken = {
        name: re.sub(r"\W+", "_", node.name)
        for node in model.graph.node
        if node.op_type == "Mul"
        for name in node.input
        if name in made
    }
    for name in taken:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    values = session(model.SerializeToString()).run(list(taken), {"x": images})
    return {taken[name]: value.reshape(value.shape[:2]) for name, value in zip(taken, values, strict=True)}


@pytest.mark.parametrize("name", NETWORKS)
def test_gates_are_those_of_onnxruntime(tmp_path: Path, name: str) -> None:
    number, size = NETWORKS[name]
    path = MODELS / f"{name}.onnx"
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    written = capture(load(read(path)), [(images, torch.zeros(3, dtype=torch.int64))], tmp_path / "a.h5")
    tree, wanted = open_capture(written), gates(path, images.numpy())
    assert len(wanted) == number
    assert set(tree["sites"].children) == set(wanted)
    for site, values in wanted.items():
        recorded = tree[f"sites/{site}"]["attention"]
        assert recorded.dims == ("epoch", "image", "channel")
        np.testing.assert_allclose(recorded.values[0], values, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_written_computes_the_same_for_images_of_other_sizes(tmp_path: Path, name: str) -> None:
    _, (height, width) = NETWORKS[name]
    file = read(MODELS / f"{name}.onnx")
    draw = torch.Generator().manual_seed(0)
    write(load(file), file, tmp_path / "a.onnx", torch.rand(2, 3, height, width, generator=draw))
    other = torch.rand(1, 3, height, 2 * width, generator=draw).numpy()
    wanted, found = (session(path).run(None, {"x": other})[0] for path in (file.path, tmp_path / "a.onnx"))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    properties = {each.key: each.value for each in onnx.load(tmp_path / "a.onnx").metadata_props}
    for each in file.proto.metadata_props:  # the recogniser's characters, which its users need
        assert properties[each.key] == each.value


def test_some_gates_of_the_direction_classifier_fold(tmp_path: Path) -> None:
    from stripe.fold import fold

    file = read(MODELS / "ch_ppocr_mobile_v2.0_cls_infer.onnx")
    images = torch.rand(4, 3, 48, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    result = fold(load(file), [images], measure="agreement", sites=["Mul_1", "Mul_25"])
    assert result.sites["folded"].tolist() == ["backwards", *["kept"] * 7, "forwards"]
    write(result.model, file, tmp_path / "a.onnx", images)
    kinds = [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]
    assert (kinds.count("HardSigmoid"), kinds.count("GlobalAveragePool")) == (7, 8)
    with torch.no_grad():
        wanted = result.model(images).numpy()
    np.testing.assert_allclose(session(tmp_path / "a.onnx").run(None, {"x": images.numpy()})[0], wanted, atol=1e-6)
