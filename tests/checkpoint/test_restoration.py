from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from stripe import asr, checkpoint
from stripe.errors import StripeError
from stripe.models import build

META = {"model": "resnet11", "num_classes": 10, "attention": "none"}


def trained(**settings: Any) -> nn.Module:
    """A network with ASR, not as it begins."""
    torch.manual_seed(1)
    model = build("resnet11")
    asr.reparameterize(model, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attention": "srm", "copies": 2, "psi": "N0.5", "learnable": False},
        {"where": "layer*.*.conv3", "attention": "eca", "activation": "tanh"},
        {"where": [["layer1.0.bn3", "layer1.0.downsample.1"], ["layer2.0.bn3"]], "attention": "spa", "init": 0.01},
        {"attention": "dia"},
        {"start": "alive"},
    ],
)
def test_from_a_file_of_ours(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = trained(**settings)
    images = torch.randn(2, 3, 16, 16)
    checkpoint.save(tmp_path / "epoch-1.safetensors", model, {**META, "asr": settings})
    restored = asr.restore(checkpoint.read(tmp_path / "epoch-1.safetensors")).eval()
    with torch.no_grad():
        assert torch.equal(restored(images), model(images))
    assert restored.state_dict().keys() == model.state_dict().keys()


def test_into_a_model_that_is_given(tmp_path: Path) -> None:
    model = trained()
    checkpoint.save(tmp_path / "a.safetensors", model, {"asr": {}})
    restored = asr.restore(checkpoint.read(tmp_path / "a.safetensors"), build("resnet11")).eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(restored(images), model(images))
    with pytest.raises(StripeError, match="does not say which model it is of; name it with model="):
        asr.restore(checkpoint.read(tmp_path / "a.safetensors"))


def test_no_tensor_is_stored_twice(tmp_path: Path) -> None:
    # safetensors refuses tensors that share memory.
    safetensors.torch.save_file(trained(attention="dia").state_dict(), tmp_path / "x.safetensors")
    groups = [["layer1.0.bn3", "layer1.0.downsample.1"]]
    safetensors.torch.save_file(trained(where=groups).state_dict(), tmp_path / "x.safetensors")


def test_a_network_without_asr(tmp_path: Path) -> None:
    model = build("resnet11").eval()
    checkpoint.save(tmp_path / "a.safetensors", model, META)
    restored = asr.restore(checkpoint.read(tmp_path / "a.safetensors"))
    assert not asr.values(restored)


@pytest.mark.parametrize(
    "settings",
    [
        "se",
        {"attention": 3},
        {"attention": "se", "device": "cuda"},
        {"copies": "two"},
        {"where": 7},
        {"psi": [1]},
        {"attention": ["se"]},
    ],
)
def test_a_damaged_description(tmp_path: Path, settings: Any) -> None:
    checkpoint.save(tmp_path / "a.safetensors", trained(), {**META, "asr": settings})
    with pytest.raises(StripeError, match=r"a.safetensors: its description of ASR .*damaged"):
        asr.restore(checkpoint.read(tmp_path / "a.safetensors"))


def test_asr_of_which_nothing_is_said(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a.safetensors", trained(), META)
    with pytest.raises(StripeError, match="does not say how ASR was put in"):
        asr.restore(checkpoint.read(tmp_path / "a.safetensors"))


def test_a_description_that_does_not_fit(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a.safetensors", trained(), {**META, "asr": {"attention": "ie"}})
    with pytest.raises(StripeError, match="does not fit the model"):
        asr.restore(checkpoint.read(tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    "parametrize",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
    ],
)
def test_parametrizations_of_other_kinds_are_the_networks_own(tmp_path: Path, parametrize: Any) -> None:
    networks = [nn.Sequential(parametrize(nn.Linear(4, 4)), nn.Linear(4, 2)) for _ in range(2)]
    torch.save(networks[0].state_dict(), tmp_path / "a.pth")
    restored = asr.restore(checkpoint.read(tmp_path / "a.pth"), networks[1]).eval()
    images = torch.randn(3, 4)
    with torch.no_grad():
        torch.testing.assert_close(restored(images), networks[0].eval()(images))


def test_asr_that_the_network_has_already(tmp_path: Path) -> None:
    model = trained()
    torch.save(model.state_dict(), tmp_path / "a.pth")
    target = build("resnet11")
    asr.reparameterize(target)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(asr.restore(checkpoint.read(tmp_path / "a.pth"), target).eval()(images), model(images))


def test_nothing_is_said_of_values_that_are_loaded_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = trained(init=-1.0)
    assert "cannot learn" in caplog.text
    checkpoint.save(tmp_path / "a.safetensors", model, {**META, "asr": {"init": -1.0, "start": "paper"}})
    caplog.clear()
    asr.restore(checkpoint.read(tmp_path / "a.safetensors"))
    assert not caplog.records
