import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from stripe.capture import Recorder, discover
from stripe.errors import StripeError
from tests.conftest import BranchGate, ExpandedGate, InPlaceGate, Net, SpatialGate, SqueezeExcite


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("gate", [SqueezeExcite(4), ExpandedGate(4), InPlaceGate(4), SpatialGate(), BranchGate()])
def test_values_are_the_gate(gate: nn.Module, images: Tensor) -> None:
    model = Net(gate).eval()
    sites = discover(model, images)
    with torch.no_grad(), Recorder(model, sites) as recorder:
        model(images)
        values = recorder.take()["att"]
        expected = gate.gate(model.features(images))
    assert values.attention.shape == (6, *sites[0].shape)
    torch.testing.assert_close(values.attention, expected.reshape(6, *sites[0].shape), rtol=0, atol=0)


def test_input_is_the_mean_of_the_map(se_net: Net, images: Tensor) -> None:
    with torch.no_grad(), Recorder(se_net, discover(se_net, images)) as recorder:
        se_net(images)
        values = recorder.take()["att"]
        features = se_net.features(images).numpy()
    assert values.input is not None
    torch.testing.assert_close(values.input, torch.from_numpy(features.mean((2, 3))))


def test_input_of_a_spatial_gate_is_the_mean_over_channels(images: Tensor) -> None:
    model = Net(SpatialGate()).eval()
    with torch.no_grad(), Recorder(model, discover(model, images)) as recorder:
        model(images)
        values = recorder.take()["att"]
        torch.testing.assert_close(values.input, model.features(images).mean(1))


@pytest.mark.parametrize("gate", [SqueezeExcite(4), SpatialGate(), BranchGate()])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_input_rms_is_the_size_of_the_map(gate: nn.Module, memory_format: torch.memory_format, images: Tensor) -> None:
    model = Net(gate).eval().to(memory_format=memory_format)
    batch = images.to(memory_format=memory_format)
    with torch.no_grad(), Recorder(model, discover(model, batch)) as recorder:
        model(batch)
        recorded = recorder.take()["att"].input_rms
        x = model.features(batch).double()
    if isinstance(gate, SpatialGate):
        expected = (x**2).mean(1).sqrt()
    elif isinstance(gate, BranchGate):
        expected = torch.stack([x, x.flip(1)], 1).pow(2).mean((3, 4)).sqrt()
    else:
        expected = (x**2).mean((2, 3)).sqrt()
    assert recorded is not None
    torch.testing.assert_close(recorded.double(), expected, rtol=1e-5, atol=1e-7)


def test_squares_of_half_precision_do_not_overflow(se_net: Net, images: Tensor) -> None:
    model = se_net.to(torch.bfloat16)
    with torch.no_grad():
        model.bn.weight.zero_()
        model.bn.bias.fill_(3e4)
        with Recorder(model, discover(model, images.bfloat16())) as recorder:
            model(images.bfloat16())
            rms = recorder.take()["att"].input_rms
    torch.testing.assert_close(rms, torch.full((6, 4), float(torch.tensor(3e4).bfloat16())), rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("model", "module", "gate"),
    [
        (
            torchvision.models.mobilenet_v3_small(),
            "features.1.block.1",
            lambda m, x: m._scale(x),
        ),
        (
            timm.create_model("seresnet50"),
            "layer4.2.se",
            lambda m, x: m.gate(m.fc2(m.act(m.bn(m.fc1(x.mean((2, 3), keepdim=True)))))),
        ),
        (
            timm.create_model("ecaresnet26t"),
            "layer1.0.se",
            lambda m, x: torch.sigmoid(m.conv(x.mean((2, 3))[:, None]))[:, 0, :, None, None],
        ),
        (
            timm.create_model("resnest14d"),
            "layer2.0.conv2",
            None,
        ),
    ],
    ids=["mobilenet_v3_small", "seresnet50", "ecaresnet26t", "resnest14d"],
)
def test_third_party_values(model: nn.Module, module: str, gate) -> None:
    """The gate computed by hand from the module's own layers and its input."""
    model.eval()
    images = torch.rand(2, 3, 64, 64)
    owner = model.get_submodule(module)
    seen = {}
    handle = owner.register_forward_hook(lambda m, args, out: seen.update(x=args[0], out=out))
    with torch.no_grad(), Recorder(model, discover(model, images)) as recorder:
        model(images)
        values = recorder.take()[module]
        if gate is None:  # split attention sums its branches to one: softmax over the radix
            torch.testing.assert_close(values.attention.sum(1), torch.ones_like(values.attention[:, 0]))
        else:
            torch.testing.assert_close(values.attention, gate(owner, seen["x"]).flatten(1), rtol=0, atol=1e-6)
            torch.testing.assert_close(values.input, seen["x"].mean((2, 3)), rtol=0, atol=1e-6)
    handle.remove()


def test_every_call_of_a_shared_module_is_recorded(images: Tensor) -> None:
    class Twice(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.att(self.att(self.features(x))).mean((2, 3)))

    model = Twice(SqueezeExcite(4)).eval()
    with torch.no_grad(), Recorder(model, discover(model, images)) as recorder:
        model(images)
        values = recorder.take()
        once = model.att(model.features(images))
        torch.testing.assert_close(values["att#2"].attention, model.att.gate(once).flatten(1), rtol=0, atol=0)


def test_some_sites_only(images: Tensor) -> None:
    """Which multiplication is a site's doesn't depend on the modules that are hooked besides."""

    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = SqueezeExcite(4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.inner(x)
            return y * (2 * y.mean((2, 3), keepdim=True))

    model = Net(Nested()).eval()
    sites = discover(model, images)
    assert [site.name for site in sites] == ["att.inner", "att"]
    with torch.no_grad():
        with Recorder(model, sites) as recorder:
            model(images)
            both = recorder.take()
        for site in sites:
            with Recorder(model, [site]) as recorder:
                model(images)
                alone = recorder.take()
            assert list(alone) == [site.name]
            assert torch.equal(alone[site.name].attention, both[site.name].attention)


def test_works_inside_a_training_loop(images: Tensor) -> None:
    """Outputs and gradients are those of a run without it, and memory of the graph is not kept."""
    model = Net(SqueezeExcite(4)).train()
    sites = discover(model, images)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(images).square().sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    bare = gradients()
    with Recorder(model, sites) as recorder:
        recorded = gradients()
        values = recorder.take()["att"]
    assert all(torch.equal(a, b) for a, b in zip(bare, recorded, strict=True))
    assert not values.attention.requires_grad


def test_no_hook_is_left_behind(se_net: Net, images: Tensor) -> None:
    sites = discover(se_net, images)
    recorder = Recorder(se_net, sites)
    with recorder:
        assert hooks(se_net) > 0
    assert hooks(se_net) == 0
    with pytest.raises(ZeroDivisionError), recorder:
        _ = 1 / 0
    assert hooks(se_net) == 0


def test_exception_inside_the_forward_pass(se_net: Net, images: Tensor) -> None:
    sites = discover(se_net, images)
    with Recorder(se_net, sites) as recorder, torch.no_grad():
        with pytest.raises(RuntimeError):
            se_net.att(torch.rand(2, 99, 4, 4))
        with pytest.raises(RuntimeError):
            se_net(torch.rand(2, 1, 8, 8))
        se_net(images)
        assert recorder.take()["att"].attention.shape == (6, 4)
    assert hooks(se_net) == 0
    assert torch.overrides._len_torch_function_stack() == 0


def test_values_before_a_forward_pass(se_net: Net, images: Tensor) -> None:
    with Recorder(se_net, discover(se_net, images)) as recorder, pytest.raises(StripeError, match="not reached"):
        recorder.take()


def test_compiled_model_is_refused_not_silently_empty(se_net: Net, images: Tensor) -> None:
    compiled = torch.compile(se_net, backend="eager")
    with Recorder(compiled, discover(compiled, images)) as recorder, torch.no_grad():
        with pytest.raises(StripeError, match=r"recorder\.model"):
            compiled(images)
        recorder.model(images)
        assert recorder.take()["att"].attention.shape == (6, 4)


def test_data_parallel(se_net: Net, images: Tensor) -> None:
    parallel = nn.DataParallel(se_net)
    with Recorder(parallel, discover(parallel, images)) as recorder, torch.no_grad():
        parallel(images)
        assert recorder.take()["att"].attention.shape == (6, 4)


def test_another_image_size_than_at_discovery(images: Tensor) -> None:
    model = Net(SpatialGate()).eval()
    with (
        Recorder(model, discover(model, images)),
        torch.no_grad(),
        pytest.raises(StripeError, match=r"Site att .* forward pass differs"),
    ):
        model(torch.rand(2, 3, 12, 12))


def test_half_precision(se_net: Net, images: Tensor) -> None:
    model, sites = se_net.bfloat16(), discover(se_net.bfloat16(), images.bfloat16())
    with Recorder(model, sites, dtype=torch.float16) as recorder, torch.no_grad():
        model(images.bfloat16())
        assert recorder.take()["att"].attention.dtype == torch.float16


def test_another_number_of_products_than_at_discovery(images: Tensor) -> None:
    """Which of them is the gate is then unknown."""

    class Moody(SqueezeExcite):
        def forward(self, x: Tensor) -> Tensor:
            if x.abs().max() > 5:
                x = x * x.mean((2, 3), keepdim=True)
            return super().forward(x)

    model = Net(Moody(4)).eval()
    with torch.no_grad(), Recorder(model, discover(model, images)) as recorder:
        model(images)
        recorder.take()
        model(1000 * images)
        with pytest.raises(StripeError, match="att multiplied another number of times"):
            recorder.take()


def test_no_sites_and_sites_of_another_model(se_net: Net, images: Tensor) -> None:
    with pytest.raises(StripeError, match="no sites to record"):
        Recorder(se_net, [])
    with pytest.raises(StripeError, match="of another model"):
        Recorder(nn.Linear(1, 1), discover(se_net, images))
