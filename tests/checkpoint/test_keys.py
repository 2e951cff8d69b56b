"""Names of parameters with the prefixes of wrappers and other networks."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_model
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel

from stripe import checkpoint
from stripe.errors import StripeError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)


class Holder(nn.Module):
    """A network whose only part has a name that wrappers have, too."""

    def __init__(self, name: str = "module") -> None:
        super().__init__()
        self.add_module(name, Net())


def under(prefix: str, model: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in model.state_dict().items()}


def loads(tmp_path: Path, state: dict[str, Tensor], source: nn.Module, target: nn.Module, **options: str) -> None:
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    assert checkpoint.load_into(target, checkpoint.read(tmp_path / "a.pth", **options)) == []
    pairs = zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize(
    "prefix",
    [
        *("model.", "net.", "backbone.", "module.", "module.encoder_q.", "model._orig_mod.", "_orig_mod.module.net."),
        *("_fsdp_wrapped_module.", "module._fsdp_wrapped_module.model.", "_forward_module.", "a.b.c.d."),
    ],
)
def test_a_prefix_is_taken_off_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, prefix: str) -> None:
    source = Net()
    loads(tmp_path, under(prefix, source), source, Net())
    if not prefix.startswith("_f"):  # which no network has, so that nothing else can be beside it
        others = {"criterion.weight": torch.ones(2), "n_averaged": torch.tensor(1)}
        loads(tmp_path, under(prefix, source) | others, source, Net())
        assert "off the names; left out 2 without it (criterion.weight, n_averaged)" in caplog.text


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        ("conv.", "conv._checkpoint_wrapped_module."),
        ("bn.", "bn._orig_mod."),
        ("fc.", "fc._fsdp_wrapped_module._checkpoint_wrapped_module."),
        ("conv.", "conv.module."),
    ],
)
def test_wrappers_of_parts(tmp_path: Path, part: str, instead: str) -> None:
    source = Net()
    state = {name.replace(part, instead): value for name, value in source.state_dict().items()}
    loads(tmp_path, state, source, Net())


def test_an_averaged_model(tmp_path: Path) -> None:
    source = Net()
    loads(tmp_path, AveragedModel(source).state_dict(), source, Net())


@pytest.mark.parametrize("name", ["module", "model", "backbone"])
@pytest.mark.parametrize("prefix", ["", "module.", "net.", "backbone."])
def test_a_prefix_of_the_model(tmp_path: Path, name: str, prefix: str) -> None:
    source, target = Net(), Holder(name)
    loads(tmp_path, under(prefix, source), source, target)


def test_two_that_fit_equally_well(tmp_path: Path) -> None:
    student, teacher = Net(), Net()
    state = under("student.backbone.", student) | under("teacher.backbone.", teacher)
    with pytest.raises(StripeError, match=r"'student.backbone.', 'teacher.backbone.'; choose with weights='"):
        loads(tmp_path, state, student, Net())
    loads(tmp_path, state, student, Net(), weights="student")
    loads(tmp_path, state, teacher, Net(), weights="teacher")


def test_an_average_beside_the_network(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, average = Net(), Net()
    state = under("model.", source) | under("ema_model.module.", average)
    loads(tmp_path, state, source, Net())
    assert "'ema_model.module.' are weights averaged over training; weights='ema' takes" in caplog.text
    loads(tmp_path, state, average, Net(), weights="ema")


def test_what_is_missing_is_named_with_the_prefix(tmp_path: Path) -> None:
    state = {name: value for name, value in under("model.", Net()).items() if "fc" not in name}
    torch.save(state, tmp_path / "a.pth")
    found = checkpoint.read(tmp_path / "a.pth")
    with pytest.raises(StripeError, match=r"without the prefix 'model\.' of its names, 2 missing in the file \(fc"):
        checkpoint.load_into(Net(), found)
    assert checkpoint.load_into(Net(), found, partial=True) == [
        "fc.weight (missing in the file)",
        "fc.bias (missing in the file)",
    ]


def test_a_few_shapes_that_agree_by_chance_are_no_prefix(tmp_path: Path) -> None:
    state = {"layer.bn.weight": torch.ones(4), "layer.a": torch.ones(7), "layer.b": torch.ones(7), "c.d": torch.ones(1)}
    torch.save(state | {"layer.e": torch.ones(7), "layer.f": torch.ones(7)}, tmp_path / "a.pth")
    with pytest.raises(StripeError, match="nothing in common"):
        checkpoint.load_into(Net(), checkpoint.read(tmp_path / "a.pth"), partial=True)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: net,
        nn.DataParallel,
        torch.compile,
        AveragedModel,
        lambda net: AveragedModel(nn.DataParallel(torch.compile(net))),
        checkpoint_wrapper,
    ],
    ids=["plain", "DataParallel", "compile", "AveragedModel", "all", "activation checkpointing"],
)
@pytest.mark.parametrize("network", [Net, Holder])
def test_what_is_saved_has_the_networks_own_names(tmp_path: Path, network: type[nn.Module], wrap: type) -> None:
    source, target = network(), network()
    checkpoint.save(tmp_path / "a.safetensors", wrap(source), {"epoch": 1})
    target.load_state_dict(load_file(tmp_path / "a.safetensors"))
    assert torch.equal(next(iter(source.parameters())), next(iter(target.parameters())))
    assert checkpoint.read(tmp_path / "a.safetensors").state_dict.keys() == source.state_dict().keys()
    assert checkpoint.load_into(wrap(network()), checkpoint.read(tmp_path / "a.safetensors")) == []


def test_a_wrapped_part_is_saved_under_its_own_name(tmp_path: Path) -> None:
    source = Net()
    names = source.state_dict().keys()
    source.conv = nn.DataParallel(source.conv)  # type: ignore[assignment]
    checkpoint.save(tmp_path / "a.safetensors", source, {})
    assert load_file(tmp_path / "a.safetensors").keys() == names


def test_a_tied_tensor_need_not_be_there_twice(tmp_path: Path) -> None:
    source, target = Net(), Net()
    for net in (source, target):
        net.add_module("again", nn.Linear(4, 2))
        net.again.weight = net.fc.weight  # type: ignore[union-attr, assignment]
    save_model(source, str(tmp_path / "a.safetensors"))
    assert len(load_file(tmp_path / "a.safetensors")) == len(source.state_dict()) - 1
    assert checkpoint.load_into(target, checkpoint.read(tmp_path / "a.safetensors")) == []
    assert torch.equal(target.again.weight, source.fc.weight)  # type: ignore[union-attr, arg-type]
    untied = Net()
    untied.add_module("again", nn.Linear(4, 2))
    with pytest.raises(StripeError, match="1 missing in the file"):
        checkpoint.load_into(untied, checkpoint.read(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_other_precisions_are_converted(tmp_path: Path, kind: torch.dtype) -> None:
    source, target = Net(), Net()
    state = {
        name: value.to(kind) if value.is_floating_point() else value for name, value in source.state_dict().items()
    }
    torch.save(state, tmp_path / "a.pth")
    assert checkpoint.load_into(target, checkpoint.read(tmp_path / "a.pth")) == []
    assert torch.equal(target.fc.weight, source.fc.weight.to(kind).float())


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.complex64])
def test_codes_and_complex_numbers_are_no_weights(tmp_path: Path, kind: torch.dtype) -> None:
    state = Net().state_dict()
    torch.save(state | {"fc.weight": state["fc.weight"].to(kind)}, tmp_path / "a.pth")
    with pytest.raises(StripeError, match=r"1 of another type \(fc\.weight: \w+ in the file, float32 in the model\)"):
        checkpoint.load_into(Net(), checkpoint.read(tmp_path / "a.pth"))
