"""A changed network is written back: the oracle is onnxruntime on a file that was written with the change in it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from stripe.errors import StripeError
from stripe.onnx import compare, load, read, write
from tests.onnx.files import gated_nodes, node, onnx, save, weights

runtime = pytest.importorskip("onnxruntime")


class Gate(nn.Module):
    """A constant per channel in the place of a gate."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(value)

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        return x * self.weight.view(-1, 1, 1)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def outputs(path: Path, x: Tensor) -> list[Any]:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return found


def kinds(path: Path) -> list[str]:
    return [each.op_type for each in onnx.load(path).graph.node]


def without_gate(network: fx.GraphModule, instead: nn.Module) -> None:
    """Put a module of the map alone in the place of the gate's multiplication."""
    call = next(each for each in network.graph.nodes if each.target == "block_se_Mul")
    network.add_submodule("attention", instead)
    with network.graph.inserting_after(call):
        made = network.graph.call_module("attention", (call.args[0],))
    call.replace_all_uses_with(made)
    network.graph.erase_node(call)
    network.graph.eliminate_dead_code()
    network.recompile()


VALUE = torch.linspace(0.2, 1.6, 8)


def constant_file(path: Path) -> Path:
    """The file of the network whose gate is a constant."""
    kept = [
        each
        for each in gated_nodes()
        if each.op_type not in ("Sigmoid", "Mul") and each.name not in ("squeeze", "excite")
    ]
    kept.insert(2, node("Mul", "b v", "f"))
    return save(path, kept, constants=weights() | {"v": VALUE.view(1, 8, 1, 1).numpy()})


def test_an_unchanged_network(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", gated_nodes(), opset=13)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"characters": "abc"})
    onnx.save(model, path)
    file, x = read(path), images(2, 3, 8, 9)
    written = tmp_path / "folder" / "b.onnx"
    assert write(load(file), file, written, x, meta={"model": "a"}) < 1e-6
    found = onnx.load(written)
    assert [each.op_type for each in found.graph.node] == [each.op_type for each in model.graph.node]
    assert {each.name for each in found.graph.initializer} == set(weights())
    assert [each.version for each in found.opset_import] == [13]
    assert [value.type for value in found.graph.input] == [value.type for value in model.graph.input]
    properties = {each.key: each.value for each in found.metadata_props}
    assert properties["characters"] == "abc"
    assert '"model": "a"' in properties["stripe"]
    np.testing.assert_array_equal(outputs(written, x)[0], outputs(path, x)[0])


def test_a_constant_that_is_left(tmp_path: Path) -> None:
    file, x = read(save(tmp_path / "a.onnx", gated_nodes())), images(3, 3, 8, 9)
    network = load(file)
    without_gate(network, Gate(VALUE))
    write(network, file, tmp_path / "b.onnx", x)
    assert kinds(tmp_path / "b.onnx") == ["Conv", "Relu", "Mul", "Conv", "GlobalAveragePool", "Flatten"]
    wanted = outputs(constant_file(tmp_path / "c.onnx"), x)[0]
    np.testing.assert_allclose(outputs(tmp_path / "b.onnx", x)[0], wanted, atol=1e-6)


def test_a_constant_in_the_next_weights(tmp_path: Path) -> None:
    file, x = read(save(tmp_path / "a.onnx", gated_nodes())), images(3, 3, 8, 9)
    network = load(file)
    without_gate(network, nn.Identity())
    with torch.no_grad():
        network.get_parameter("head.weight").mul_(VALUE.view(1, 8, 1, 1))
    write(network, file, tmp_path / "b.onnx", x)
    assert kinds(tmp_path / "b.onnx") == ["Conv", "Relu", "Conv", "GlobalAveragePool", "Flatten"]
    assert "w2" not in {each.name for each in onnx.load(tmp_path / "b.onnx").graph.initializer}
    wanted = outputs(constant_file(tmp_path / "c.onnx"), x)[0]
    np.testing.assert_allclose(outputs(tmp_path / "b.onnx", x)[0], wanted, atol=1e-6)
    compared = compare(tmp_path / "c.onnx", tmp_path / "b.onnx", x)
    assert compared.error < 1e-6
    assert compared.nodes == (6, 5)
    assert compared.bytes == tuple((tmp_path / name).stat().st_size for name in ("c.onnx", "b.onnx"))


def test_the_last_node_is_taken_out(tmp_path: Path) -> None:
    """What is before it takes the name of the output then."""
    file, x = read(save(tmp_path / "a.onnx", gated_nodes()[:6], outputs={"f": ("n", 8, "h", "w")})), images(2, 3, 8, 9)
    network = load(file)
    without_gate(network, nn.Identity())
    write(network, file, tmp_path / "b.onnx", x)
    assert kinds(tmp_path / "b.onnx") == ["Conv", "Relu"]
    assert [each.name for each in onnx.load(tmp_path / "b.onnx").graph.output] == ["f"]


def test_a_layer_gets_a_bias(tmp_path: Path) -> None:
    file, x = read(save(tmp_path / "a.onnx", gated_nodes())), images(2, 3, 8, 9)
    network = load(file)
    head = network.get_submodule("head")
    head.bias = nn.Parameter(torch.arange(4.0))
    write(network, file, tmp_path / "b.onnx", x)
    wanted = outputs(tmp_path / "a.onnx", x)[0] + np.arange(4)  # of the mean over positions as well
    np.testing.assert_allclose(outputs(tmp_path / "b.onnx", x)[0], wanted, atol=1e-6)


def scaled(array: Any) -> Any:
    """What is done to every weight."""
    return (array * 1.5 + 0.25).astype(np.float32)


def some(*shape: int) -> Any:
    return np.random.default_rng(3).uniform(0.5, 1, size=shape).astype(np.float32)


LAYERS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "convolution": ([node("Conv", "x w b", "y", "n")], {"w": some(4, 3, 3, 3), "b": some(4)}),
    "padded on one side": (
        [node("Conv", "x w b", "y", "n", pads=[0, 0, 1, 1])],
        {"w": some(4, 3, 2, 2), "b": some(4)},
    ),
    "auto_pad": (
        [node("Conv", "x w", "y", "n", auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": some(4, 3, 3, 3)},
    ),
    "transposed": ([node("ConvTranspose", "x w", "y", "n", strides=[2, 2])], {"w": some(3, 4, 2, 2)}),
    "normalisation": (
        [node("BatchNormalization", "x g b m v", "y", "n")],
        {"g": some(3), "b": some(3), "m": some(3), "v": some(3)},
    ),
    "linear": (
        [node("GlobalMaxPool", "x", "p"), node("Flatten", "p", "f"), node("Gemm", "f w b", "y", "n")],
        {"w": some(3, 5), "b": some(5)},
    ),
    "slopes": ([node("PRelu", "x s", "y", "n")], {"s": some(3, 1, 1)}),
    "matrix": (
        [node("MatMul", "x m", "y", "n")],
        {"m": some(10, 4)},
    ),
    "two parts": (
        [node("Split", "x s", "a b", "split", axis=1), node("Mul", "b m", "c"), node("Concat", "c a", "y", axis=1)],
        {"s": np.array([1, 2]), "m": some(1, 2, 1, 1)},
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_weight_of_every_layer(tmp_path: Path, name: str) -> None:
    nodes, constants = LAYERS[name]
    open_outputs: dict[str, Any] = {"y": None}
    path = _save(tmp_path / "a.onnx", nodes, constants, open_outputs)
    file, x = read(path), images(2, 3, 10, 10)
    network = load(file)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1.5).add_(0.25)
    write(network, file, tmp_path / "b.onnx", x)
    changed = {key: value if value.dtype == np.int64 else scaled(value) for key, value in constants.items()}
    wanted = outputs(_save(tmp_path / "c.onnx", nodes, changed, open_outputs), x)[0]
    np.testing.assert_allclose(outputs(tmp_path / "b.onnx", x)[0], wanted, rtol=1e-5, atol=1e-5)
    assert kinds(tmp_path / "b.onnx") == [each.op_type for each in nodes]
    if name == "auto_pad":  # for images of any size
        other = images(2, 3, 7, 5)
        np.testing.assert_allclose(
            outputs(tmp_path / "b.onnx", other)[0], outputs(tmp_path / "c.onnx", other)[0], rtol=1e-5
        )


def _save(path: Path, nodes: list[Any], constants: dict[str, Any], named: dict[str, Any]) -> Path:
    save(path, nodes, constants=constants, outputs=dict.fromkeys(named, ("a", "b", "c", "d")))
    model = onnx.load(path)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    return path


def test_channels_last_and_a_fixed_number_of_images(tmp_path: Path) -> None:
    nodes = [node("Transpose", "images", "x", perm=[0, 3, 1, 2]), *gated_nodes()[:-1], node("Reshape", "h s", "y")]
    path = save(tmp_path / "a.onnx", nodes, constants=weights() | {"s": np.array([1, 4])}, outputs={"y": (1, 4)})
    model = onnx.load(path)
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("images", 1, [1, 8, 10, 3]))
    onnx.save(model, path)
    file, x = read(path), images(2, 3, 8, 10)
    network = load(file)
    without_gate(network, Gate(VALUE))
    write(network, file, tmp_path / "b.onnx", x)
    wanted = outputs(constant_file(tmp_path / "c.onnx"), x)[0]
    found = outputs(tmp_path / "b.onnx", x.permute(0, 2, 3, 1).contiguous())[0]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_two_outputs_of_one_value(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"b": ("n", 8, "h", "w"), "f": ("n", 8, "h", "w")}
    file, x = read(save(tmp_path / "a.onnx", gated_nodes()[:6], outputs=wanted)), images(2, 3, 8, 9)
    network = load(file)
    without_gate(network, nn.Identity())
    write(network, file, tmp_path / "b.onnx", x)
    first, second = outputs(tmp_path / "b.onnx", x)
    np.testing.assert_array_equal(first, second)


def test_what_is_not_written(tmp_path: Path) -> None:
    file, x = read(save(tmp_path / "a.onnx", gated_nodes())), images(2, 3, 8, 9)
    path = tmp_path / "b.onnx"
    path.write_text("before")
    with pytest.raises(StripeError, match=r"a Conv2d is no network of .*a\.onnx"):
        write(nn.Conv2d(3, 4, 1), file, path, x)
    network = load(file)
    without_gate(network, fx.symbolic_trace(nn.Softmax(1)))
    with pytest.raises(StripeError, match="softmax that became part of the network cannot be written"):
        write(network, file, path, x)
    assert path.read_text() == "before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
