"""What is read of a file, and what is refused, in one sentence that names the file."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stripe.errors import StripeError
from stripe.onnx import read
from tests.onnx.files import gated_nodes, node, onnx, save, weights


def test_what_a_file_says_of_its_images(tmp_path: Path) -> None:
    free = read(save(tmp_path / "a.onnx", gated_nodes())).images
    assert (free.name, free.batch, free.channels, free.size, free.channels_last) == ("x", None, 3, (None, None), False)
    fixed = read(save(tmp_path / "b.onnx", gated_nodes(), images=(1, 3, 20, 24))).images
    assert (fixed.batch, fixed.size) == (1, (20, 24))
    last = read(save(tmp_path / "c.onnx", [node("Transpose", "x", "y")], images=("n", 20, 24, 3))).images
    assert (last.channels, last.size, last.channels_last) == (3, (20, 24), True)


def test_initializers_are_no_inputs(tmp_path: Path) -> None:
    """Files of before IR version 4 list them among the inputs."""
    listed = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape)
        for name, value in weights().items()
    ]
    assert read(save(tmp_path / "a.onnx", gated_nodes(), more=listed)).images.name == "x"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no ONNX file, or is damaged: there is no network"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4cac\nsize 133\n", "no ONNX file, or is damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no ONNX file, or is damaged"),
    ],
)
def test_what_is_no_onnx_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(StripeError, match=message):
        read(path)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_file(tmp_path: Path, kept: float) -> None:
    path = save(tmp_path / "a.onnx", gated_nodes())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(StripeError, match="damaged"):
        read(path)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", gated_nodes())
    path.write_bytes(path.read_bytes().replace(b"relu", b"rel\xff"))
    with pytest.raises(StripeError, match="damaged: there are names in it that are no text"):
        read(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(StripeError, match="there is no such file"):
        read(tmp_path / "a.onnx")
    with pytest.raises(StripeError, match="is no file"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("nodes", "more", "message"),
    [
        ([node("Foo", "x", "y", "n1", domain="com.example")], {}, r"com\.example:Foo \(node n1\) is none of ONNX's"),
        ([node("QLinearConv", "x s z w s z s z", "y", "q")], {}, r"quantized \(operator QLinearConv, node q\)"),
        ([node("QuantizeLinear", "x s", "y", "q")], {}, r"quantized \(operator QuantizeLinear, node q\)"),
        ([node("Relu", "x", "y")], {"images": ("n", 3, 8)}, r"the shape \['n', 3, 8\]"),
        ([node("Relu", "x", "y")], {"dtype": 2}, "takes UINT8; floating-point images"),
    ],
)
def test_what_is_refused(tmp_path: Path, nodes: list[Any], more: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "a.onnx", nodes, **more)
    with pytest.raises(StripeError, match=f"a.onnx.*{message}"):
        read(path)


def test_several_inputs(tmp_path: Path) -> None:
    scale = onnx.helper.make_tensor_value_info("scale", 1, [2])
    path = save(tmp_path / "a.onnx", [node("Relu", "x", "y")], more=[scale])
    with pytest.raises(StripeError, match=r"has 2 inputs \(x, scale\)"):
        read(path)


def test_a_sequence_as_input(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", [node("Relu", "x", "y")])
    model = onnx.load(path)
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_sequence_value_info("x", 1, ["n", 3, 8, 8]))
    onnx.save(model, path)
    with pytest.raises(StripeError, match="the input x is a sequence"):
        read(path)


def outside(path: Path, location: str, **more: int) -> Path:
    """Say that the first weights lie in another file."""
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", gated_nodes())
    wanted = weights()["w1"]
    (tmp_path / "a.bin").write_bytes(bytes(16) + wanted.tobytes())
    outside(path, "a.bin", offset=16, length=wanted.nbytes)
    found = onnx.numpy_helper.to_array(read(path).proto.graph.initializer[0])
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("location", "more", "message"),
    [
        ("../secret.bin", {}, "outside its folder"),
        ("/etc/passwd", {}, "outside its folder"),
        ("link.bin", {}, "outside its folder"),
        ("missing.bin", {}, "missing.bin beside it, which holds its weights, is not there"),
        ("a.bin", {"offset": 0, "length": 1 << 40}, "does not hold the weights w1"),
        ("a.bin", {"offset": -4, "length": 4}, "does not hold the weights w1"),
    ],
)
def test_weights_elsewhere(tmp_path: Path, location: str, more: dict[str, int], message: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "a.bin").write_bytes(bytes(100))
    path = outside(save(folder / "a.onnx", gated_nodes()), location, **more)
    with pytest.raises(StripeError, match=message):
        read(path)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.onnx", gated_nodes())
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(StripeError, match=r"pip install 'stripe-observation\[onnx\]'"):
        read(path)
