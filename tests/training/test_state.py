import errno
import os
import pickle

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stripe.errors import StripeError
from stripe.training import RESNET, Compute, EpochMetrics
from stripe.training.state import load_state, save_state

HISTORY = [EpochMetrics(1, 0.1, 2.0, 20.0, 2.1, 19.0, 1.5, 300.0, 2.2, 18.0)]


def network():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    Compute.on(torch.device("cpu")).place(model)
    return model, RESNET.optimizer(model.parameters())


def step(model, optimizer, seed):
    images = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(images.contiguous(memory_format=torch.channels_last)).square().sum().backward()
    optimizer.step()


def test_going_on_is_going_on(tmp_path):
    """Momentum, running statistics and memory layout come back: the next steps are bit-identical."""
    model, optimizer = network()
    step(model, optimizer, 0)
    save_state(tmp_path / "state.pt", model, optimizer, HISTORY)
    other, other_optimizer = network()
    assert load_state(tmp_path / "state.pt", other, other_optimizer) == HISTORY
    for seed in (1, 2):
        step(model, optimizer, seed)
        step(other, other_optimizer, seed)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
        assert value.stride() == other.state_dict()[name].stride(), name


def test_the_moving_average_comes_back(tmp_path):
    def averaged():
        model, optimizer = network()
        return model, optimizer, AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)

    model, optimizer, average = averaged()
    for seed in (0, 1):
        step(model, optimizer, seed)
        average.update_parameters(model)
    save_state(tmp_path / "state.pt", model, optimizer, HISTORY, average)
    other, other_optimizer, other_average = averaged()
    load_state(tmp_path / "state.pt", other, other_optimizer, other_average)
    for name, value in average.state_dict().items():
        assert torch.equal(value, other_average.state_dict()[name]), name
    save_state(tmp_path / "state.pt", model, optimizer, HISTORY)
    with pytest.raises(StripeError, match="damaged"):  # a run without average has none to go on with
        load_state(tmp_path / "state.pt", other, other_optimizer, other_average)


def test_no_state_is_the_beginning(tmp_path):
    assert load_state(tmp_path / "state.pt", *network()) == []


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_does_not_run(tmp_path):
    torch.save({"model": Malicious(tmp_path / "owned")}, tmp_path / "state.pt")
    with pytest.raises(StripeError, match="damaged"):
        load_state(tmp_path / "state.pt", *network())
    (tmp_path / "state.pt").write_bytes(pickle.dumps(Malicious(tmp_path / "owned")))
    with pytest.raises(StripeError, match="damaged"):
        load_state(tmp_path / "state.pt", *network())
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("length", [0, 1, 1000])
def test_a_file_cut_short(tmp_path, length):
    path = tmp_path / "state.pt"
    save_state(path, *network(), HISTORY)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StripeError, match=r"state\.pt is damaged.*Delete it"):
        load_state(path, *network())


def test_the_state_of_another_model(tmp_path):
    model = nn.Linear(2, 2)
    save_state(tmp_path / "state.pt", model, RESNET.optimizer(model.parameters()), HISTORY)
    with pytest.raises(StripeError, match="damaged"):
        load_state(tmp_path / "state.pt", *network())


def test_a_full_disk_leaves_the_old_state(tmp_path, monkeypatch):
    path = tmp_path / "state.pt"
    save_state(path, *network(), HISTORY)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StripeError, match="No space left"):
        save_state(path, *network(), HISTORY)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


def test_an_optimiser_that_lost_a_setting_is_damage(tmp_path):
    model, optimizer = network()
    step(model, optimizer, 0)
    save_state(tmp_path / "state.pt", model, optimizer, HISTORY)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    group = state["optimizer"]["param_groups"][0]
    group["weight_dec!y"] = group.pop("weight_decay")
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(StripeError, match="damaged: its optimiser lacks weight_decay"):
        load_state(tmp_path / "state.pt", *network())
