"""What is converted computes what onnxruntime computes; what cannot be converted is named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from stripe.capture import discover
from stripe.errors import StripeError
from stripe.onnx import load, read, verify
from tests.onnx.files import gated_nodes, node, onnx, save, weights

runtime = pytest.importorskip("onnxruntime")


def of_file(path: Path, images: Tensor) -> Any:
    """What onnxruntime computes of a file, one image after the other."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    dtype = np.float16 if "16" in taken.type else np.float32
    return np.concatenate([session.run(None, {taken.name: image[None].numpy().astype(dtype)})[0] for image in images])


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("opset", [11, 12, 13, 15, 17, 19, 21])
def test_a_network_with_a_gate(tmp_path: Path, opset: int) -> None:
    path = save(tmp_path / "a.onnx", gated_nodes(), opset=opset)
    network = load(read(path))
    assert isinstance(network, fx.GraphModule)
    assert not network.training
    x = images(3, 3, 12, 17)
    with torch.no_grad():
        np.testing.assert_allclose(network(x).numpy(), of_file(path, x), atol=1e-6)
    (site,) = discover(network, x)
    assert (site.name, site.kind, site.map_shape, site.is_attention) == ("block_se_Mul", "channel", (8, 12, 17), True)


def test_the_domain_of_onnx_by_its_other_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", gated_nodes())
    model = onnx.load(path)
    for named in (*model.graph.node, *model.opset_import):
        named.domain = "ai.onnx"
    onnx.save(model, path)
    x = images(2, 3, 8, 8)
    np.testing.assert_allclose(load(read(path))(x).detach().numpy(), of_file(path, x), atol=1e-6)


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("operator", ["Conv", "MaxPool", "AveragePool"])
def test_same_padding(tmp_path: Path, operator: str, kernel: int, stride: int, lower: bool) -> None:
    side = "SAME_LOWER" if lower else "SAME_UPPER"
    constants = {"w": np.random.default_rng(0).normal(size=(4, 3, kernel, kernel)).astype(np.float32)}
    inputs = "x w" if operator == "Conv" else "x"
    pooled = node(operator, inputs, "y", "n", kernel_shape=[kernel] * 2, strides=[stride] * 2, auto_pad=side)
    path = save(tmp_path / "a.onnx", [pooled], constants=constants, outputs={"y": ("n", "c", "h2", "w2")})
    file = read(path)
    if operator == "AveragePool" and (stride > 1 or kernel % 2 == 0):
        with pytest.raises(StripeError, match=rf"operator AveragePool \(node n\) with auto_pad={side}"):
            load(file)
        return
    network = load(file)
    if operator == "MaxPool" and stride > kernel:
        return  # onnxruntime itself refuses to pad by less than nothing
    for size in ((9, 10), (12, 7)):
        verify(network, file, images(2, 3, *size))


X4: dict[str, Sequence[int | str]] = {"y": ("a", "b", "c", "d")}


@pytest.mark.parametrize(
    ("nodes", "constants", "outputs", "opset"),
    [
        *(
            ([node(f"Reduce{name}", "x axes", "y", keepdims=keep)], {"axes": [-1, 2]}, None, opset)
            for name, keep, opset in [("Mean", 1, 18), ("Max", 0, 20), ("Sum", 1, 13), ("L2", 0, 18), ("Min", 1, 18)]
        ),
        ([node("ReduceMean", "x", "y")], {}, None, 18),
        ([node("ReduceMean", "x", "y", noop_with_empty_axes=1)], {}, None, 18),
        ([node("Gelu", "x", "y", approximate="tanh")], {}, None, 20),
        ([node("Mish", "x", "y")], {}, None, 18),
        ([node("GlobalMaxPool", "x", "y")], {}, None, 13),
        ([node("SpaceToDepth", "x", "y", blocksize=2)], {}, None, 13),
        ([node("Split", "x", "a b y", axis=2, num_outputs=3)], {}, None, 18),
        ([node("Split", "x s", "a y", axis=1)], {"s": [2, 1]}, None, 18),
        ([node("Pad", "x p v axes", "y")], {"p": [1, 2], "v": np.float32(3), "axes": [-1]}, None, 18),
        ([node("Pad", "x p", "y", mode="reflect")], {"p": [0, 0, 1, 2, 0, 0, 3, 0]}, None, 19),
        ([node("Slice", "x s e a t", "y")], {"s": [9, -1], "e": [-99, 1], "a": [2, -1], "t": [-2, -1]}, None, 13),
        ([node("Slice", "x s e", "y")], {"s": [0, 1], "e": [2**63 - 1, 3]}, None, 13),
        ([node("Shape", "x", "s"), node("Expand", "v s", "y")], {"v": np.float32(2)}, None, 21),
        ([node("Reshape", "x s", "y", allowzero=1)], {"s": [2, -1]}, None, 19),
        (
            [node("GroupNormalization", "x w b", "y", num_groups=3)],
            {"w": np.float32([1, 2, 3]), "b": np.float32([0, 1, 2])},
            None,
            21,
        ),
        ([node("Clip", "x lo", "y")], {"lo": np.float32(0.5)}, None, 13),
        ([onnx.helper.make_node("Clip", ["x", "", "hi"], ["y"])], {"hi": np.float32(0.5)}, None, 13),
        ([node("Relu", "x", "y"), node("Sigmoid", "x", "z")], {}, {"z": X4["y"], "y": X4["y"]}, 13),
        ([node("Split", "x", "a y", axis=2)], {}, {"y": X4["y"], "a": X4["y"]}, 13),
    ],
)
def test_operators(
    tmp_path: Path, nodes: list[Any], constants: dict[str, Any], outputs: dict[str, Any] | None, opset: int
) -> None:
    path = save(tmp_path / "a.onnx", nodes, constants=constants, outputs=outputs or X4, opset=opset)
    model = onnx.load(path)
    for output in model.graph.output:  # of any rank
        output.type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    file = read(path)
    assert verify(load(file), file, images(2, 3, 12, 12)) < 5e-6


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([node("Det", "x", "y", "n1")], {}, r"the operator Det \(node n1, opset 17\)"),
        ([node("Clip", "x", "a"), node("GridSample", "a x", "y", "n2")], {}, r"GridSample \(node n2"),
        ([node("Slice", "x x x", "y", "n3")], {}, "onnxruntime does not take the network"),
        ([node("Relu", "unknown", "y")], {}, "onnxruntime does not take the network"),
    ],
)
def test_what_cannot_be_converted(tmp_path: Path, nodes: list[Any], constants: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "a.onnx", nodes, constants=constants, outputs=X4)
    with pytest.raises(StripeError, match=f"a.onnx.*{message}"):
        load(read(path))


def test_control_flow_is_named(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info
    branches = {
        f"{name}_branch": onnx.helper.make_graph([node(kind, "x", "z")], name, [], [value("z", 1, None)])
        for name, kind in (("then", "Relu"), ("else", "Neg"))
    }
    nodes = [
        node("ReduceMean", "x", "m", keepdims=0),
        node("Greater", "m zero", "c"),
        node("If", "c", "y", "choice", **branches),
    ]
    path = save(tmp_path / "a.onnx", nodes, constants={"zero": np.float32(0)}, outputs=X4)
    with pytest.raises(StripeError, match=r"the operator If \(node choice"):
        load(read(path))


def test_functions_of_the_file_are_written_out(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", [node("Twice", "x", "y", domain="own")], constants={}, outputs=X4)
    model = onnx.load(path)
    opset = onnx.helper.make_opsetid("", 17)
    model.functions.append(onnx.helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [opset]))
    model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    onnx.save(model, path)
    x = images(2, 3, 4, 4)
    torch.testing.assert_close(load(read(path))(x), 2 * x)


@pytest.mark.parametrize("sizes", [[2, 8], [2, -1], [0, -1], [-1, 8]])
def test_a_fixed_number_of_images(tmp_path: Path, sizes: list[int]) -> None:
    nodes = [*gated_nodes()[:3], node("Reshape", "c s", "y")]
    constants = {"s": np.array(sizes)}
    path = save(tmp_path / "a.onnx", nodes, constants=weights() | constants, images=(2, 3, 6, 6), outputs={"y": (2, 8)})
    file = read(path)
    network = load(file)
    assert network(images(5, 3, 6, 6)).shape == (5, 8)
    verify(network, file, images(4, 3, 6, 6))


def test_a_network_that_is_built_on_a_fixed_number(tmp_path: Path) -> None:
    token = np.ones((1, 3, 1, 4), np.float32)
    path = save(
        tmp_path / "a.onnx",
        [node("Concat", "token x", "y", axis=2)],
        constants={"token": token},
        images=(1, 3, 4, 4),
        outputs={"y": (1, 3, 5, 4)},
    )
    file = read(path)
    with pytest.raises(StripeError, match=r"built on batches of 1 .*export it with a batch axis of any length"):
        verify(load(file), file, images(2, 3, 4, 4))


def test_half_precision_is_computed_in_single(tmp_path: Path) -> None:
    halves = {name: value.astype(np.float16) for name, value in weights().items()}
    path = save(tmp_path / "a.onnx", gated_nodes(), constants=halves, dtype=10)
    x = images(2, 3, 8, 8)
    output = load(read(path))(x)
    assert output.dtype is torch.float32
    np.testing.assert_allclose(output.detach().numpy(), of_file(path, x).astype(np.float32), atol=5e-3)


def test_channels_last(tmp_path: Path) -> None:
    nodes = [node("Transpose", "images", "x", perm=[0, 3, 1, 2]), *gated_nodes()]
    path = save(tmp_path / "a.onnx", nodes)
    model = onnx.load(path)
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("images", 1, ["n", 8, 10, 3]))
    onnx.save(model, path)
    file = read(path)
    network = load(file)
    x = images(2, 3, 8, 10)
    assert verify(network, file, x) < 1e-6
    assert [site.name for site in discover(network, x)] == ["block_se_Mul"]


def test_names_of_nodes_that_no_module_can_have(tmp_path: Path) -> None:
    kinds = ["Relu", "Sigmoid", "Tanh", "Neg", "Abs"]
    given = ["forward", "1.2", "", "a/b", "a.b"]
    values = ["x", "a", "b", "c", "d", "y"]
    nodes = [
        node(kind, values[number], values[number + 1], name)
        for number, (kind, name) in enumerate(zip(kinds, given, strict=True))
    ]
    network = load(read(save(tmp_path / "a.onnx", nodes, constants={}, outputs=X4)))
    x = images(2, 3, 4, 4)
    torch.testing.assert_close(network(x), torch.abs(-torch.tanh(torch.sigmoid(torch.relu(x)))))
    assert [name for name, _ in network.named_children()] == ["forward_1", "Sigmoid_1_2", "Tanh", "a_b", "a_b_1"]


def test_a_changed_network_is_noticed(tmp_path: Path) -> None:
    file = read(save(tmp_path / "a.onnx", gated_nodes()))
    network = load(file)
    with torch.no_grad():
        network.get_parameter("stem.weight").mul_(1.01)
    with pytest.raises(StripeError, match=r"the output y of the converted network is .* off that of onnxruntime"):
        verify(network, file, images(2, 3, 8, 8))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("attention", ["se", "eca", "cbam"])
def test_networks_that_torch_exports(tmp_path: Path, attention: str) -> None:
    from stripe.models import build

    model = build("resnet11", num_classes=4, attention=attention).eval()
    path, x = tmp_path / "a.onnx", images(3, 3, 16, 16)
    torch.onnx.export(model, (x,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    network = load(read(path))
    with torch.no_grad():
        torch.testing.assert_close(network(x), model(x), atol=1e-6, rtol=1e-5)
    ours = [site.map_shape for site in discover(model, x) if site.is_attention]
    assert [site.map_shape for site in discover(network, x) if site.is_attention] == ours
    assert isinstance(network, nn.Module)
