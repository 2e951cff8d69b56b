"""Networks that are graphs, as converters of ONNX files make them, where a multiplication is a module of two inputs."""

import copy
import importlib.util
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import stripe
from stripe import models
from stripe.adapter import tensors_of
from stripe.capture import Recorder
from stripe.errors import StripeError
from stripe.fold import fold
from stripe.fold.sites import find_foldable, gated, outline_places
from stripe.fold.weights import fold_gates
from stripe.models.graph import trace
from stripe.models.merge import merge
from stripe.models.outline import Outline, outline
from stripe.models.surgery import ConstantGate, Passage

C = 6
IMAGES = torch.randn(4, 3, 12, 12)


class Binary(nn.Module):
    """One operator of a graph."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.function(first, second)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


def graph(*steps: tuple[str, tuple[str, ...]], **modules: nn.Module) -> fx.GraphModule:
    """A network from its nodes, each the call of a module with other nodes; ``x`` is the input, the last the output."""
    made = fx.Graph()
    nodes = {"x": made.placeholder("x")}
    for name, inputs in steps:
        nodes[name] = made.call_module(name, tuple(nodes[each] for each in inputs))
    made.output(nodes[steps[-1][0]])
    return fx.GraphModule(nn.ModuleDict(modules), made, "Converted").eval()


def converted(gate_first: bool = False, residual: bool = False) -> fx.GraphModule:
    """conv → hard-swish → SE → conv, as in MobileNetV3; or x + x ⊙ g in the place of x ⊙ g."""
    steps = [("conv", ("x",)), ("act", ("conv",)), ("pool", ("act",)), ("fc1", ("pool",)), ("relu", ("fc1",))]
    steps += [("fc2", ("relu",)), ("sigmoid", ("fc2",))]
    steps.append(("times", ("sigmoid", "act") if gate_first else ("act", "sigmoid")))
    if residual:
        steps.append(("add", ("act", "times")))
    steps += [("head", (steps[-1][0],)), ("mean", ("head",))]
    return graph(
        *steps,
        conv=nn.Conv2d(3, C, 3),
        act=nn.Hardswish() if not residual else nn.BatchNorm2d(C),
        pool=Mean(),
        fc1=nn.Conv2d(C, 2, 1),
        relu=nn.ReLU(),
        fc2=nn.Conv2d(2, C, 1),
        sigmoid=nn.Hardsigmoid(),
        times=Binary(torch.mul),
        add=Binary(torch.add),
        head=nn.Conv2d(C, 5, 1),
        mean=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


@pytest.mark.parametrize("gate_first", [False, True])
def test_a_gate_of_a_graph_is_folded_and_gone(gate_first: bool, tmp_path: Path) -> None:
    net = converted(gate_first)
    before = copy.deepcopy(net)
    result = fold(net, [IMAGES], sequential=True, frontier=True, win_back=("scale", "bias"))
    assert result.sites[["folded", "into"]].to_numpy().tolist() == [["forwards", "head"]]
    assert result.folded["outlined"] == [["", "times", 0 if gate_first else 1]]
    names = {name.partition(".")[0] for name in result.model.state_dict()}
    assert names == {"conv", "head"}
    assert not {"pool", "fc1", "fc2", "times"} & {str(node.target) for node in result.model.graph.nodes}
    assert str(net.graph) == str(before.graph)  # the network itself stays as it was
    result.save(tmp_path / "folded.safetensors", {"model": "python:mine:make"})
    loaded = stripe.load(tmp_path / "folded.safetensors", converted(gate_first))
    with torch.inference_mode():
        assert torch.equal(loaded(IMAGES), result.model(IMAGES))


def test_the_constant_is_the_mean() -> None:
    net = converted()
    with torch.no_grad():
        x = net.act(net.conv(IMAGES))
        mean = F.hardsigmoid(net.fc2(F.relu(net.fc1(x.mean((2, 3), keepdim=True))))).mean(0)
        torch.testing.assert_close(fold(net, [IMAGES]).model.head.weight, net.head.weight * mean[None])


def test_a_residual_gate_of_a_graph_goes_into_what_made_the_map() -> None:
    """x + x ⊙ v is 2x after folding, and the layer that made x took (1 + v) / 2."""
    net = converted(residual=True)
    with torch.no_grad():
        x = net.act(net.conv(IMAGES))
        v = F.hardsigmoid(net.fc2(F.relu(net.fc1(x.mean((2, 3), keepdim=True))))).mean((0, 2, 3))
        result = fold(net, [IMAGES])
    assert result.sites[["folded", "into"]].to_numpy().tolist() == [["backwards", "act"]]
    torch.testing.assert_close(result.model.act.weight, net.act.weight * (1 + v) / 2)


class Response(nn.Module):
    """The global response normalisation of ConvNeXt V2 (Woo et al., 2023, algorithm 1), between two linear layers."""

    def __init__(self, behind: nn.Module | None = None) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(3, C, 1), nn.Conv2d(C, 5, 1)
        self.gamma, self.beta = nn.Parameter(torch.randn(C, 1, 1)), nn.Parameter(torch.randn(C, 1, 1))
        self.behind = behind or nn.Identity()

    def normalised(self, x: Tensor) -> Tensor:
        norm = x.norm(p=2, dim=(2, 3), keepdim=True)
        return norm / (norm.mean(1, keepdim=True) + 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.fc1(x))
        x = self.gamma * (x * self.normalised(x)) + self.beta + x
        return self.fc2(self.behind(x)).mean((2, 3))


def test_a_response_normalisation_goes_into_weight_and_bias(tmp_path: Path) -> None:
    """x (1 + γ v) + β: the next layer takes the factor, and what it makes of β is added to its bias."""
    net = Response().eval()
    result = fold(net, [IMAGES])
    assert result.sites[["folded", "into"]].to_numpy().tolist() == [["forwards", "fc2"]]
    with torch.no_grad():
        v = net.normalised(F.gelu(net.fc1(IMAGES))).mean((0, 2, 3))
        factor = 1 + net.gamma[:, 0, 0] * v
        bias = net.fc2.bias + net.fc2.weight[:, :, 0, 0] @ net.beta[:, 0, 0]
    torch.testing.assert_close(result.model.fc2.weight, net.fc2.weight * factor.view(1, -1, 1, 1))
    torch.testing.assert_close(result.model.fc2.bias, bias)
    assert result.model.state_dict().keys() == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    result.save(tmp_path / "folded.safetensors", {"model": "python:mine:make"})
    loaded = stripe.load(tmp_path / "folded.safetensors", Response())
    with torch.inference_mode():
        assert torch.equal(loaded(IMAGES), result.model(IMAGES))


def test_a_constant_that_is_left_takes_in_what_follows(tmp_path: Path) -> None:
    """One multiplication and one addition are left of six."""
    net = Response(nn.GELU()).eval()
    result = fold(net, [IMAGES])
    assert result.sites["folded"].tolist() == ["left"]
    gate = result.model.attention
    assert isinstance(gate, ConstantGate)
    with torch.no_grad():
        x = F.gelu(net.fc1(IMAGES))
        factor = 1 + net.gamma[:, 0, 0] * net.normalised(x).mean((0, 2, 3))
        torch.testing.assert_close(gate.weight, factor)
        torch.testing.assert_close(gate.shift, net.beta[:, 0, 0])
        wanted = net.fc2(F.gelu(x * factor.view(-1, 1, 1) + net.beta)).mean((2, 3))
        torch.testing.assert_close(result.model(IMAGES), wanted)
    assert len(result.folded["merged"]) == 1
    assert "gamma" not in result.model.state_dict()
    result.save(tmp_path / "folded.safetensors", {"model": "python:mine:make"})
    loaded = stripe.load(tmp_path / "folded.safetensors", Response(nn.GELU()))
    with torch.inference_mode():
        assert torch.equal(loaded(IMAGES), result.model(IMAGES))


class Padded(Response):
    """What is added cannot go through a convolution whose border sees zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.fc2 = nn.Conv2d(C, 5, 3, padding=1)


class Bare(Response):
    """There is no bias to take what is added."""

    def __init__(self) -> None:
        super().__init__()
        self.fc2 = nn.Conv2d(C, 5, 1, bias=False)


@pytest.mark.parametrize("make", [Padded, Bare, lambda: Response(nn.AvgPool2d(3, 1, 1)), lambda: Response(nn.ReLU())])
def test_what_is_added_is_left_where_no_layer_takes_it(make) -> None:
    net = make().eval()
    result = fold(net, [IMAGES])
    assert result.sites["folded"].tolist() == ["left"]
    assert "takes nothing that is added to the map" in result.sites["reason"][0]
    assert result.steps["error"].iloc[-1] == pytest.approx(result.steps["error"].iloc[1], rel=1e-4)


class Rectified(nn.Module):
    """What follows the gate is a factor for the images at hand, and none for others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, C, 3), nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).exp()
        return F.gelu(F.relu(x * self.fc(x.mean((2, 3))).exp()[:, :, None, None])).mean((2, 3))


def test_only_what_is_a_factor_everywhere_becomes_one_with_a_gate() -> None:
    result = fold(Rectified().eval(), [IMAGES])
    assert result.sites["folded"].tolist() == ["left"]
    assert "merged" not in result.folded
    assert any(node.target is F.relu for node in result.model.graph.nodes)


def test_others_are_said() -> None:
    net = converted()
    with pytest.raises(StripeError, match=r"the network has 0 multiplications; .* is none of them"):
        outline(net, Outline("", 3, 1))
    with pytest.raises(StripeError, match="the network has 0 multiplications"):
        outline(net, Outline("", "fc1", 1))
    with pytest.raises(StripeError, match="there is no module nowhere"):
        outline(net, Outline("nowhere", 0, 1))
    with pytest.raises(StripeError, match="there is no add behind attention"):
        merge(net, "attention", "add")


def test_a_network_is_one_where_its_forward_is_outlined() -> None:
    """Whoever holds the network holds the graph that it became; names of nodes stay."""
    net = Response().eval()
    with torch.no_grad():
        wanted = net(IMAGES)
    held = net
    place = find_foldable(net, IMAGES)[0][0]
    assert type(net) is Response
    assert place.outline is not None
    assert outline(net, place.outline) == "attention"
    assert held is net
    assert isinstance(net, fx.GraphModule)
    assert not isinstance(net.attention, Passage)
    with torch.no_grad():
        torch.testing.assert_close(net(IMAGES), wanted)
    names = [node.name for node in trace(net, "").nodes]
    assert names == [node.name for node in copy.deepcopy(net).graph.nodes]


@pytest.mark.parametrize(
    ("name", "size", "wanted"),
    [
        ("ch_ppocr_mobile_v2.0_cls_infer", (48, 64), {"backwards": 1, "forwards": 8}),
        ("ch_PP-OCRv4_rec_infer", (48, 32), {"forwards": 2}),
        ("ch_PP-OCRv4_det_infer", (32, 32), {"backwards": 8, "forwards": 2}),
    ],
)
@pytest.mark.slow
def test_gates_of_networks_that_others_trained(name: str, size: tuple[int, int], wanted: dict[str, int]) -> None:
    """PP-OCR's networks, from their ONNX files: all gates fold, and what computed them is gone."""
    pytest.importorskip("onnx2torch")
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    if spec is None or spec.origin is None:
        pytest.skip("needs rapidocr-onnxruntime")
    net = models.build(f"onnx:{Path(spec.origin).parent / 'models' / f'{name}.onnx'}", image_size=size).eval()
    images = torch.rand(2, 3, *size) * 2 - 1
    places, reasons, _ = find_foldable(net, images)
    assert not reasons
    with torch.no_grad(), Recorder(net, [place.site for place in places], record_input=False) as recorder:
        recorder.model(images)
        values = {name: found.attention.mean(0) for name, found in recorder.take().items()}
    outlined = copy.deepcopy(net)
    outline_places(outlined, places, places)
    constant = gated(outlined, places, values)
    folded = copy.deepcopy(constant)
    landings = fold_gates(folded, images)
    assert Counter(landing.where for landing in landings.values()) == wanted
    with torch.no_grad():
        got, other = (tensors_of(each(images))[0] for each in (folded, constant))
    assert (got - other).abs().max() <= 1e-5 * other.abs().max()
    assert len(folded.graph.nodes) < len(net.graph.nodes)
