"""Discovery and recording in many implementations of attention, and in code that only looks like attention."""

import pytest
import torch
from torch import nn

from stripe.capture import Recorder, Site, discover, discover_unbuilt
from stripe.errors import StripeError
from tests.capture.networks import CASES, UNSEEN, C, Case, case_named, shaped


def attention(sites: list[Site]) -> str:
    return " ".join(site.kind for site in sites if site.is_attention)


def others(sites: list[Site]) -> str:
    marks = {None: "?", False: "=", True: ""}
    return " ".join(marks[site.input_dependent] + site.kind for site in sites if not site.is_attention)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_attention_and_what_looks_like_it(case: Case) -> None:
    sites = discover(case.model(), case.sample())
    assert (attention(sites), others(sites)) == (case.attention, case.others)


# Without values nothing can leave torch as a number, so these are built for real.
@pytest.mark.parametrize("case", [case for case in CASES if case.shape[0] == 2], ids=lambda case: case.name)
def test_the_same_is_found_without_weights(case: Case) -> None:
    assert discover_unbuilt(case.model, case.shape) == discover(case.model(), case.sample())


@pytest.mark.parametrize("case", UNSEEN, ids=lambda case: case.name)
def test_what_the_readme_says_is_not_seen(case: Case) -> None:
    assert not discover(case.model(), case.sample())


@pytest.mark.parametrize("case", [case for case in CASES if case.attention], ids=lambda case: case.name)
def test_all_attention_is_recorded(case: Case) -> None:
    model = case.model()
    sites = [site for site in discover(model, case.sample()) if site.is_attention]
    images = torch.rand(5, *case.shape[1:])
    with torch.no_grad(), Recorder(model, sites) as recorder:
        model(images.clone())
        values = recorder.take()
    for site in sites:
        recorded = values[site.name]
        assert recorded.attention.shape == (5, *site.shape)
        assert recorded.input is not None
        assert recorded.input.shape == (5, *site.shape)
        assert recorded.attention.isfinite().all()


# Gates that are sigmoid(fc(mean of the map)), however they are multiplied: their values are known beforehand.
@pytest.mark.parametrize(
    "name",
    [
        "star",
        "gate_first",
        "in_place",
        "residual_gate",
        "addcmul",
        "division",
        "addcdiv",
        "lerp",
        "einsum",
        "sigmoid_by_hand",
        "sigmoid_by_reciprocal",
        "expand_as",
        "expanded_and_copied",
        "repeat",
        "interpolate",
        "ones_times_gate",
        "sigmoid_after_repeat",
        "detached",
        "keyword_arguments",
        "under_inference_mode",
        "kept_in_a_buffer",
        "flattened_positions",
        "channels_last_code",
        "sequence_first",
        "tokens",
        "groups",
    ],
)
def test_recorded_values_are_those_of_the_gate(name: str) -> None:
    case = case_named(name)
    model, images = case.model(), torch.rand(5, *case.shape[1:])
    sites = [site for site in discover(model, case.sample()) if site.is_attention]
    with torch.no_grad():
        feature_map = model.conv(images)
        if "vector" in case.forward.__code__.co_names or "maps" in case.forward.__code__.co_names:
            feature_map = torch.relu(feature_map) if "maps" in case.forward.__code__.co_names else feature_map
        wanted = torch.sigmoid(model.fc(feature_map.mean((2, 3))))
        with Recorder(model, sites) as recorder:
            model(images)
            recorded = recorder.take()[sites[0].name]
    torch.testing.assert_close(recorded.attention, wanted)
    if name != "lerp":
        assert recorded.input is not None
        torch.testing.assert_close(recorded.input, feature_map.mean((2, 3)))


def test_hard_gates_are_recorded_as_numbers() -> None:
    images = torch.rand(5, 3, 10, 12)
    for name in ("hard", "boolean", "where", "masked_fill"):
        model = case_named(name).model()
        with torch.no_grad(), Recorder(model, discover(model, images)) as recorder:
            model(images)
            (recorded,) = recorder.take().values()
            squeezed = torch.sigmoid(model.fc(torch.relu(model.conv(images)).mean((2, 3))))
        assert torch.equal(recorded.attention, (squeezed > 0.5).float())


def test_frames_stay_apart_from_channels() -> None:
    case = case_named("frames_in_the_batch")
    model, clips = case.model(), torch.rand(3, 4, 3, 10, 12)
    (site,) = discover(model, case.sample())
    assert (site.dims, site.shape) == (("frame", "channel"), (4, C))
    with torch.no_grad(), Recorder(model, [site]) as recorder:
        model(clips)
        recorded = recorder.take()[site.name].attention
        for clip, values in zip(clips, recorded, strict=True):
            torch.testing.assert_close(values, model.vector(model.conv(clip)))


def test_dims_and_shapes_of_oblong_and_flattened_maps() -> None:
    found = {
        name: (site.dims, site.shape)
        for name in ("channels_last_code_spatial", "flattened_positions_spatial", "signal_spatial", "video_temporal")
        for site in discover(case_named(name).model(), case_named(name).sample())
    }
    assert found == {
        "channels_last_code_spatial": (("height", "width"), (10, 12)),
        "flattened_positions_spatial": (("token",), (120,)),
        "signal_spatial": (("length",), (16,)),
        "video_temporal": (("depth",), (4,)),
    }


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_modes_around_discovery_change_nothing(mode: type) -> None:
    for case in CASES[:6]:
        alone = discover(case.model(), case.sample())
        with mode():
            assert discover(case.model(), case.sample()) == alone


def test_dead_gates_depend_on_the_image_though_two_images_agree() -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)
            nn.init.constant_(self.fc.bias, -100.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return x * shaped(self.fc(x.mean((2, 3))).relu(), x)

    (site,) = discover(Dead().eval(), torch.rand(1, 3, 8, 8).expand(2, 3, 8, 8))
    assert site.input_dependent is True


def test_a_gate_that_is_as_large_as_another_is_refused() -> None:
    """Equal numbers of elements are not equal shapes."""

    class Grows(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.mean(1, keepdim=True).sigmoid()

    model = Grows().eval()
    with Recorder(model, discover(model, torch.rand(2, 3, 4, 6))), pytest.raises(StripeError, match="size"):
        model(torch.rand(2, 3, 6, 4))
