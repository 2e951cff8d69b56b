"""``scenes``: what its annotations say is what its images show."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stripe.data import load
from stripe.data.annotated import KINDS
from stripe.data.scene_objects import MOST, draw_objects
from stripe.data.scenes import AnnotatedScenes
from stripe.data.silhouettes import SILHOUETTES
from stripe.errors import StripeError


def scenes(count: int = 40, size: Any = 64, bias: float = 0.5) -> AnnotatedScenes:
    return AnnotatedScenes(count, size, seed=(0, 2), center_bias=bias)


def test_what_it_is_by_default() -> None:
    data = load("scenes")
    assert (len(data.train), len(data.test), data.image_size) == (1000, 200, 128)
    assert (data.spec, data.classes, data.annotations) == ("scenes", tuple(SILHOUETTES), KINDS)
    assert data.train.labels.tolist() == [-1] * 1000
    assert json.loads(json.dumps(data.attrs)) == data.attrs


@given(index=st.integers(0, 39), size=st.sampled_from([32, 96, (64, 150), (100, 50)]))
@settings(max_examples=25)
def test_boxes_areas_and_classes_are_those_of_the_masks(index: int, size: Any) -> None:
    image, target = scenes(size=size).read(index, KINDS)
    height, width = image.shape[1:]
    assert (height, width) == ((size, size) if isinstance(size, int) else size)
    masks, labels = target["masks"].numpy(), target["labels"].numpy()
    assert masks.shape == (len(labels), height, width)
    assert masks.sum(0).max(initial=0) <= 1  # a pixel shows one shape
    expected = np.zeros((height, width), np.uint8)
    for mask, label, box, area in zip(masks, labels, target["boxes"], target["area"], strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert area == len(rows) > 0
        expected[mask] = label + 1
    np.testing.assert_array_equal(target["segmentation"], expected)
    assert not target["iscrowd"].any()
    assert target["image_id"] == index


def test_only_what_is_wanted_is_given() -> None:
    assert set(scenes().read(0, ())[1]) == {"image_id"}
    assert set(scenes().read(0, ("segmentation",))[1]) == {"image_id", "segmentation"}
    assert set(scenes().read(0, ("boxes",))[1]) == {"image_id", "boxes", "labels", "area", "iscrowd"}


def test_an_image_depends_neither_on_the_others_nor_on_their_number() -> None:
    few, many = scenes(5), scenes(40)
    for index in (4, 0):
        (image, target), (same, same_target) = few.read(index, KINDS), many.read(index, KINDS)
        assert torch.equal(image, same)
        assert all(torch.equal(target[key], same_target[key]) for key in target)


def test_another_seed_half_or_bias_is_another_image() -> None:
    image = scenes().read(0, ())[0]
    for seed, bias in (((1, 2), 0.5), ((0, 3), 0.5), ((0, 2), 0.9)):
        assert not torch.equal(AnnotatedScenes(40, 64, seed=seed, center_bias=bias).read(0, ())[0], image)


@pytest.mark.parametrize("size", [96, 192])
def test_the_same_scenes_at_any_size(size: int) -> None:
    moved = []
    for index in range(12):
        (small, known), (large, target) = scenes(size=64).read(index, KINDS), scenes(size=size).read(index, KINDS)
        assert target["labels"].tolist() == known["labels"].tolist()
        moved.append((target["boxes"] * (64 / size) - known["boxes"]).abs())
        coarse = [torch.nn.functional.adaptive_avg_pool2d(image.float(), 8) for image in (small, large)]
        assert (coarse[0] - coarse[1]).abs().mean() < 8
    # Edges fall on other pixels, of which there may be none where little is visible beside another shape.
    assert (torch.cat(moved) <= 1.5).float().mean() > 0.95


def test_few_and_many_small_and_large_and_all_classes() -> None:
    targets = [scenes(80, 256).read(index, ("boxes",))[1] for index in range(80)]
    counts = np.array([len(target["labels"]) for target in targets])
    assert counts.min() == 1
    assert counts.max() == MOST
    assert 0.3 < (counts <= 3).mean() < 0.7
    areas = np.concatenate([target["area"].numpy() for target in targets])
    small, large = (areas < 32**2).mean(), (areas >= 96**2).mean()
    assert 0.2 < small < 0.6
    assert 0.02 < large < 0.3
    classes = np.bincount(np.concatenate([target["labels"] for target in targets]), minlength=len(SILHOUETTES))
    assert classes.min() > 0.05 * classes.sum()


def test_some_shapes_are_partly_hidden_and_none_wholly() -> None:
    hidden = []
    for index in range(60):
        _, target = scenes(60, 128).read(index, KINDS)
        for mask, (left, top, right, bottom) in zip(target["masks"], target["boxes"].int().tolist(), strict=True):
            shown = target["masks"].any(0) & ~mask
            hidden.append(bool(shown[top:bottom, left:right].any()))
    assert 0.1 < np.mean(hidden) < 0.6


def test_the_bias_draws_shapes_to_the_centre() -> None:
    spread = []
    for bias in (0.0, 0.7, 0.95):
        drawn = draw_objects(500, seed=(0,), center_bias=bias)
        spread.append(np.concatenate([drawn.center[i, : drawn.count[i]] for i in range(500)]).std())
    assert spread[0] > 1.2 * spread[1] > 1.2 * 1.2 * spread[2]


def test_normalised_images_have_mean_0_and_std_1() -> None:
    data = load("scenes:train=150", image_size=64)
    images, _ = next(iter(data.train.loader(150, workers=0)))
    normal = data.normalize(torch.stack(images))
    torch.testing.assert_close(normal.mean((0, 2, 3)), torch.zeros(3), atol=0.15, rtol=0)
    torch.testing.assert_close(normal.std((0, 2, 3)), torch.ones(3), atol=0.15, rtol=0)


def test_the_same_again_from_spec_and_size() -> None:
    data = load("scenes:train=5,test=3", seed=3, center_bias=0.25, image_size="40x60")
    assert data.spec == "scenes:train=5,test=3,center_bias=0.25,seed=3"
    again = load(data.spec, image_size=data.image_size)
    assert again.attrs == data.attrs
    (images, _), (same, _) = (next(iter(each.train.loader(5, workers=0))) for each in (data, again))
    assert all(torch.equal(a, b) for a, b in zip(images, same, strict=True))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("scenes:train=0", "train=0 must be at least 1"),
        ("scenes:objects=3", "has no option 'objects'; it has train, test, center_bias, seed"),
        ("scenes:center_bias=2", "out of range"),
        ("scenes:train=many", "not a whole number"),
        ("scenes:3", "not of the form scenes:key=value"),
    ],
)
def test_what_it_cannot_be_is_refused(spec: str, said: str) -> None:
    with pytest.raises(StripeError, match=said):
        load(spec)
    with pytest.raises(StripeError, match="at least 32 pixels, not 16"):
        load("scenes", image_size=16)
