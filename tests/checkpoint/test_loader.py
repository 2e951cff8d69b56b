from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stripe.checkpoint import Checkpoint, load_into
from stripe.errors import StripeError
from stripe.models import build


def checkpoint(state: dict[str, Tensor]) -> Checkpoint:
    return Checkpoint(Path("run/x.pth"), {key: value.clone() for key, value in state.items()}, None, {})


def network(outputs: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, outputs))


def same(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_everything_fits() -> None:
    source, target = network(), network()
    source[1].running_mean.fill_(3)
    assert load_into(target, checkpoint(source.state_dict())) == []
    assert same(source, target)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda model: nn.DataParallel(torch.compile(model))])
def test_into_a_wrapped_model(wrap: type[nn.DataParallel[nn.Module]]) -> None:
    source, target = network(), network()
    assert load_into(wrap(target), checkpoint(source.state_dict())) == []
    assert same(source, target)


def test_a_model_whose_only_child_is_called_module() -> None:
    source, target = nn.Module(), nn.Module()
    source.module, target.module = nn.Linear(2, 2), nn.Linear(2, 2)
    plain = {key.removeprefix("module."): value for key, value in source.state_dict().items()}  # as read gives it
    assert load_into(target, checkpoint(plain)) == []
    assert same(source, target)


def test_half_precision_is_converted() -> None:
    source, target = network().half(), network()
    load_into(target, checkpoint(source.state_dict()))
    assert target[3].weight.dtype == torch.float32
    torch.testing.assert_close(target[3].weight, source[3].weight.float())


def test_old_checkpoints_lack_the_counter_of_batch_normalisation() -> None:
    source, target = network(), network()
    state = {key: value for key, value in source.state_dict().items() if "num_batches" not in key}
    assert load_into(target, checkpoint(state)) == []
    assert same(source, target)


def test_what_does_not_fit_is_listed_with_counts_and_advice() -> None:
    target = network()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    state = network(outputs=5).state_dict()
    del state["0.weight"]
    state |= {f"extra{i}.weight": torch.zeros(1) for i in range(5)}
    with pytest.raises(StripeError) as caught:
        load_into(target, checkpoint(state))
    message = str(caught.value)
    assert message.startswith("run/x.pth does not fit the model: ")
    assert "1 missing in the file (0.weight); " in message
    assert "5 unknown to the model (extra0.weight, extra1.weight, extra2.weight and 2 more); " in message
    assert "2 of another shape (3.weight: 5×4 in the file, 2×4 in the model, 3.bias: 5 in the file" in message
    assert "num_classes=" in message
    assert "partial=True" in message
    assert all(torch.equal(target.state_dict()[key], before[key]) for key in before)  # untouched


def test_partial_loads_what_fits_and_says_what_not(caplog: pytest.LogCaptureFixture) -> None:
    source, target = network(outputs=5), network()
    state = source.state_dict()
    del state["1.bias"]
    state["extra"] = torch.zeros(())
    head = target[3].weight.clone()
    assert load_into(target, checkpoint(state), partial=True) == [
        "1.bias (missing in the file)",
        "extra (unknown to the model)",
        "3.weight: 5×4 in the file, 2×4 in the model (of another shape)",
        "3.bias: 5 in the file, 2 in the model (of another shape)",
    ]
    assert "skipped 1.bias" in caplog.text
    assert torch.equal(target[0].weight, source[0].weight)
    assert torch.equal(target[3].weight, head)


@pytest.mark.parametrize(
    "state", [{"a": torch.zeros(1)}, {"0.weight": torch.zeros(1)}, {"1.num_batches_tracked": torch.tensor(1)}]
)
def test_partial_with_nothing_in_common(state: dict[str, Tensor]) -> None:
    with pytest.raises(StripeError, match=r"run/x.pth has nothing in common with the model.*0.weight.*model="):
        load_into(network(), checkpoint(state), partial=True)


def test_the_wrong_attention() -> None:
    with pytest.raises(StripeError, match=r"12 unknown to the model \(layer1.0.attention_module.fc1.weight"):
        load_into(build("resnet11"), checkpoint(build("resnet11", attention="se").state_dict()))
