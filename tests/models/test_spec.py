import json
from dataclasses import replace
from typing import Any, Literal

import pytest

from stripe.errors import StripeError
from stripe.models.spec import AsrSpec, ModelSpec, NoiseSpec, Range, fits

# As the first release wrote it into the checkpoints of a run.
WRITTEN = {
    "model": "resnet11",
    "mode": "both",
    "attention": "eca",
    "asr": {"attention": "eca", "where": None, "psi": 0.2, "learnable": True, "copies": 2, "start": "alive"},
    "noise": {"factor": 0.8, "offset": 0.5, "std": 0.1},
    "num_classes": 10,
    "args": {},
    "image_size": 16,
}
SPEC = ModelSpec(
    model="resnet11",
    attention="eca",
    asr=AsrSpec("eca", psi=0.2, copies=2, start="alive"),
    noise=NoiseSpec(0.8, 0.5, 0.1),
    num_classes=10,
    image_size=16,
)


def test_a_description_of_the_first_release() -> None:
    run = {"data": "shapes", "epoch": 3, "recipe": {"lr": 0.1}}  # which says nothing of the network
    assert ModelSpec.from_meta({**WRITTEN, **run}) == SPEC
    assert json.dumps(SPEC.to_meta()) == json.dumps(WRITTEN)


def test_what_is_not_used_is_not_written() -> None:
    plain = {"model": "vgg19", "mode": "none", "attention": "none", "asr": None, "noise": None, "num_classes": None}
    assert ModelSpec("vgg19").to_meta() == {**plain, "args": {}}
    asr = {"attention": "se", "where": None, "psi": None, "learnable": True, "copies": 1}
    assert ModelSpec("vgg19", asr=AsrSpec()).to_meta()["asr"] == asr
    assert ModelSpec("vgg19", fused=True, mean=[0.5], std=[0.25]).to_meta().items() >= {"fused": True}.items()


@pytest.mark.parametrize("spec", [SPEC, ModelSpec(), replace(SPEC, mean=[0.5], std=[0.25], fused=True, folded={})])
def test_through_json_and_back(spec: ModelSpec) -> None:
    assert ModelSpec.from_meta(json.loads(json.dumps(spec.to_meta()))) == spec


@pytest.mark.parametrize(
    ("attention", "asr", "mode"), [("none", 0, "none"), ("se", 0, "attention"), ("none", 1, "asr"), ("se", 1, "both")]
)
def test_mode(attention: str, asr: int, mode: str) -> None:
    assert ModelSpec("resnet11", attention, asr=AsrSpec() if asr else None).mode == mode


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        ([0.5, 0.4, 0.3], [0.2, 0.2, 1], ((0.5, 0.4, 0.3), (0.2, 0.2, 1.0))),
        ([0.5], [0.25], ((0.5,), (0.25,))),
        ([0.5], [0.2, 0.2, 0.2], None),
        ([0.5, 0.5], [0.2, 0.2], None),
        ([0.5], [0], None),
        ([0.5], [float("nan")], None),
        (["half"], [1], None),
        (None, [1], None),
    ],
)
def test_normalization(mean: Any, std: Any, expected: Any) -> None:
    assert ModelSpec(mean=mean, std=std).normalization == expected


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"num_classes": 0}, "a.pth: its description of the model is damaged: num_classes is 0"),
        ({"image_size": True}, "of the model is damaged: image_size is True"),
        ({"model": 3}, "of the model is damaged: model is 3"),
        ({"asr": {"copies": "two"}}, "a.pth: its description of ASR is damaged: copies is 'two'"),
        ({"asr": {"copies": None}}, "of ASR is damaged: copies is None"),
        ({"asr": {"speed": 1}}, r"of ASR \(\{'speed': 1\}\) is damaged"),
        ({"asr": False}, r"of ASR \(False\) is damaged"),
        ({"noise": {"factor": 1}}, r"of noise .* is damaged"),
        ({"noise": {"factor": 1, "offset": "loud"}}, "of noise is damaged: offset is 'loud'"),
    ],
)
def test_damage_is_said_with_file_and_field(meta: dict[str, Any], message: str) -> None:
    with pytest.raises(StripeError, match=message):
        ModelSpec.from_meta({"model": "resnet11", **meta}, "a.pth")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        (1.5, int, False),
        (None, int | None, True),
        ([1, 2], tuple[float, float], True),
        ([1, 2, 3], tuple[float, float], False),
        ((1, 2, 3), tuple[int, ...], True),
        (["a", 1], list[str], False),
        ("se", Literal["se", "eca"], True),
        (True, Literal[1], False),
        ({}, dict[str, Any], True),
        ("text", Any, True),
    ],
)
def test_types_as_they_are_annotated(value: Any, kind: Any, expected: bool) -> None:
    assert fits(value, kind) == expected


@pytest.mark.parametrize(
    ("numbers", "inside", "outside", "words"),
    [
        (Range(), [-1e9, 0], [float("inf"), float("nan")], "finite"),
        (Range(1), [1, 7], [0, float("inf")], "at least 1"),
        (Range(0, low_open=True), [1e-9], [0, -1], "more than 0"),
        (Range(0, 1, high_open=True), [0, 0.99], [1, -0.1], "at least 0 and less than 1"),
        (Range(high=2), [-3, 2], [2.1], "at most 2"),
    ],
)
def test_ranges(numbers, inside, outside, words):
    assert all(number in numbers for number in inside)
    assert not any(number in numbers for number in outside)
    assert str(numbers) == words
