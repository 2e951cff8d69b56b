import pytest
import torch

from stripe import models
from stripe.asr import values
from stripe.errors import StripeError
from stripe.training import network


def described(mode=None, attention="none", **settings):
    return network.describe("resnet11", mode=mode, attention=attention, num_classes=10, **settings)


def parts(built):
    """Whether κ is in the blocks, and whether ASR is."""
    return "attention_module" in str(built.state_dict().keys()), bool(values(built))


@pytest.mark.parametrize(
    ("mode", "attention", "expected"),
    [
        (None, "none", (False, False)),
        (None, "se", (True, False)),
        ("none", "se", (False, False)),
        ("attention", "eca", (True, False)),
        ("asr", "se", (False, True)),
        ("both", "ie", (True, True)),
    ],
)
def test_modes(mode, attention, expected):
    assert parts(network.build(described(mode, attention))) == expected


def test_kappa_is_se_where_none_is_named():
    assert described("asr")["asr"]["attention"] == "se"
    assert described("both")["attention"] == "se"
    assert described("asr")["attention"] == "none"  # what is in the network's blocks


def test_settings_of_asr():
    built = network.build(described("asr", "eca", where="layer3.*.bn3", copies=2, psi="C0.3", psi_fixed=True))
    assert list(values(built)) == ["layer3.0.bn3"]
    psi = {name: value for name, value in built.state_dict().items() if name.endswith("psi")}
    assert len(psi) == 2
    assert all((value == 0.3).all() for value in psi.values())
    assert not any(name.endswith("psi") for name, _ in built.named_parameters())


def test_the_start_of_asr_is_recorded_where_it_is_not_the_papers():
    assert "start" not in described("asr")["asr"]
    recorded = described("asr", asr_start="alive")
    assert recorded["asr"]["start"] == "alive"
    assert values(network.build(recorded))
    with pytest.raises(StripeError, match="asr_start: a setting of ASR"):
        described("attention", "se", asr_start="alive")


def test_the_backbone_begins_alike_in_every_mode_and_under_noise():
    convolutions = []
    for settings in ({}, {"mode": "asr"}, {"noise": (0.8, 0.5), "noise_random": 0.1}):
        torch.manual_seed(3)
        built = network.build(described(**settings))
        convolutions.append([value for name, value in built.state_dict().items() if "conv" in name])
    for others in convolutions[1:]:
        assert all(torch.equal(a, b) for a, b in zip(convolutions[0], others, strict=True))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"noise": (0.8, 0.5)}, {"factor": 0.8, "offset": 0.5, "std": 0.0}),
        ({"noise_random": 0.2}, {"factor": 1.0, "offset": 0.0, "std": 0.2}),
    ],
)
def test_noise(settings, expected):
    description = described(**settings)
    assert description["noise"] == expected
    plain = models.build("resnet11").state_dict().keys()
    assert (network.build(description).state_dict().keys() == plain) == (expected is None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "mixed"}, "unknown mode 'mixed'; there are none, attention, asr, both"),
        ({"attention": "se", "copies": 2}, "copies: a setting of ASR.*mode attention"),
        ({"where": "*.bn3", "psi": 0.2, "psi_fixed": True}, "where, psi, psi_fixed"),
        ({"args": {"x": object()}}, "must be numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(StripeError, match=message):
        described(**settings)
