"""``--model onnx:FILE`` on the command line."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stripe.capture import open_capture
from tests.onnx.files import gated_nodes, onnx, save

runtime = pytest.importorskip("onnxruntime")


@pytest.fixture
def network(run: Any) -> str:
    return f"onnx:{save(Path('a.onnx'), gated_nodes())}"


@pytest.fixture
def photos(run: Any) -> str:
    folder = Path("photos")
    folder.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (24, 16, 20, 3), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return "folder:photos"


def test_inspect(run: Any, network: str) -> None:
    (site,) = json.loads(run("inspect", "--model", network, "--image-size", "16x20", "--format", "json").stdout)
    assert site["name"] == "block_se_Mul"
    assert site["shape"] == [8, 16, 20]


def test_capture(run: Any, network: str, photos: str) -> None:
    flags = ["--data", photos, "--image-size", "16x20", "--images", "5", "-o", "a.h5"]
    out = run("capture", "--model", network, *flags)
    assert "Images are normalised with mean/std 0.485,0.456,0.406" in out.stderr  # nobody said which
    assert "random" not in out.stderr
    tree = open_capture("a.h5")
    assert tree["sites/block_se_Mul"]["attention"].shape == (1, 5, 8)
    assert tree.attrs["weights"] == "of the file"
    assert re.fullmatch("[0-9a-f]{64}", tree.attrs["model_sha256"])


def test_gradcam_and_bench(run: Any, network: str, photos: str) -> None:
    size = ["--image-size", "16x20"]
    flags = ["--data", photos, "--normalize", "half", "--images", "4", "-o", "g.h5"]
    assert "Grad-CAM of 4 images at head" in run("gradcam", "--model", network, *size, *flags).output
    out = run("bench", "--models", network, *size, "--batch-size", "2", "--repeats", "1", "--format", "json")
    assert json.loads(out.stdout)[0]["model"] == network


def test_fold(run: Any, network: str, photos: str) -> None:
    flags = ["--data", photos, "--image-size", "16x20", "--normalize", "half", "-o", "folded.onnx", "--format", "json"]
    out = run("fold", "--model", network, *flags)
    (site,) = json.loads(out.stdout)["sites"]
    assert (site["folded"], site["into"]) == ("backwards", "stem")
    assert "1 of 1 sites folded" in out.stderr
    assert "in onnxruntime on this CPU" in out.stderr
    assert "random" not in out.stderr
    folded = onnx.load("folded.onnx")
    assert [node.op_type for node in folded.graph.node] == ["Conv", "Relu", "Conv", "GlobalAveragePool", "Flatten"]
    about = json.loads({each.key: each.value for each in folded.metadata_props}["stripe"])
    assert about["model"] == network
    assert about["mean"] == [0.5, 0.5, 0.5]
    session = runtime.InferenceSession("folded.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.zeros((3, 3, 9, 7), np.float32)})[0].shape == (3, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fold", "-o", "a.safetensors"], "the network of an ONNX file is written as .onnx"),
        (["fold", "-o", "a.onnx"], "is the network's own file"),
        (["capture", "--num-classes", "4"], "has its own number of outputs"),
        (["capture", "--pretrained"], "has its own weights"),
        (["capture", "--model-arg", "width=2"], "takes no further arguments"),
    ],
)
def test_what_cannot_be(run: Any, network: str, photos: str, arguments: list[str], message: str) -> None:
    command, *more = arguments
    out = run(command, "--model", network, "--data", photos, "--image-size", "16x20", *more, code=1)
    assert message in out.stderr
    assert "Traceback" not in out.output


def test_no_file(run: Any) -> None:
    assert "nowhere.onnx: there is no such file" in run("inspect", "--model", "onnx:nowhere.onnx", code=1).stderr
