import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stripe.data import Data, load
from stripe.data.composition import draw_positions, draw_scenes
from stripe.data.memory import MemorySplit
from stripe.data.render import SceneImages
from stripe.data.silhouettes import SILHOUETTES
from stripe.errors import StripeError


def pixels(data: Data, name: str = "test") -> torch.Tensor:
    split = getattr(data, name)
    assert isinstance(split, MemorySplit)
    return split.images


@pytest.fixture(scope="module")
def shapes() -> Data:
    return load("shapes:train=1000,test=200")


def test_what_it_is_by_default() -> None:
    data = load("shapes")
    assert (len(data.train), len(data.test), data.image_size, len(data.classes)) == (5000, 1000, 32, 10)
    assert data.spec == "shapes"


def test_the_classes_are_balanced(shapes: Data) -> None:
    assert np.bincount(shapes.train.labels).tolist() == [100] * 10


def test_the_same_again_from_spec_and_size() -> None:
    shapes = load("shapes:train=50,test=50", seed=3, center_bias=0.123456789, image_size=20)
    again = load(shapes.spec, image_size=shapes.image_size)
    assert torch.equal(pixels(again), pixels(shapes))
    assert torch.equal(pixels(again, "train"), pixels(shapes, "train"))
    assert again.attrs == shapes.attrs
    assert json.loads(json.dumps(shapes.attrs)) == shapes.attrs


def test_another_seed_or_bias_is_another_set(shapes: Data) -> None:
    for other in (load(shapes.spec, seed=1), load(shapes.spec, center_bias=0.1)):
        assert not torch.equal(pixels(other), pixels(shapes))
        assert other.attrs != shapes.attrs


def test_the_images_to_test_on_are_others_than_those_to_train_on(shapes: Data) -> None:
    assert not torch.equal(pixels(shapes, "train")[:200], pixels(shapes))


def test_an_image_depends_neither_on_the_others_nor_on_their_number(shapes: Data) -> None:
    images = SceneImages(60, 32, seed=(0, 0), center_bias=0.7)
    some = np.array([41, 3, 59])
    assert torch.equal(images.read(some), pixels(shapes)[some])
    assert torch.equal(images.read(some[1:2])[0], pixels(shapes)[3])


def test_noise_differs_between_images() -> None:
    images = SceneImages(20, 32, seed=(0, 0), center_bias=0.7).read(np.arange(20)).float()
    rough = (images - torch.nn.functional.avg_pool2d(images, 3, 1, 1))[:, :, 2:6, 2:6].flatten(1)
    assert torch.corrcoef(rough).fill_diagonal_(0).abs().max() < 0.9


@pytest.mark.parametrize("size", [16, 64, 160])
def test_the_same_scenes_at_any_size(shapes: Data, size: int) -> None:
    large = SceneImages(30, size, seed=(0, 0), center_bias=0.7).read(np.arange(30)).float()
    assert large.shape == (30, 3, size, size)
    small = [torch.nn.functional.adaptive_avg_pool2d(x.float(), 8) for x in (large, pixels(shapes)[:30])]
    assert (small[0] - small[1]).abs().mean() < 8


def test_normalised_images_have_mean_0_and_std_1() -> None:
    data = load("shapes:train=2000,test=10")
    normal = data.normalize(pixels(data, "train"))
    assert normal.mean((0, 2, 3)).abs().max() < 0.05
    assert (normal.std((0, 2, 3)) - 1).abs().max() < 0.05


def test_colour_and_place_help_but_do_not_tell_the_class() -> None:
    data = load("shapes")
    train, test = (pixels(data, name).float().flatten(1) for name in ("train", "test"))
    means = torch.stack([train[data.train.labels == label].mean(0) for label in range(10)])
    nearest = torch.cdist(test, means).argmin(1).numpy()
    assert 0.2 < (nearest == data.test.labels).mean() < 0.6


def test_silhouettes_differ_and_fit_into_their_circle() -> None:
    axis = np.linspace(-1.2, 1.2, 121, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    inside = np.stack([silhouette(x, y) < 0 for silhouette in SILHOUETTES.values()])
    assert len(inside) == 10
    for shape in inside:
        assert 0.1 < shape.mean() < 0.5
        assert np.hypot(x, y)[shape].max() < 1.15
    for i in range(10):
        for j in range(i):
            assert (inside[i] & inside[j]).sum() / (inside[i] | inside[j]).sum() < 0.9


def test_silhouettes_grow_by_about_one_a_unit_across_the_outline() -> None:
    axis = np.linspace(-1.2, 1.2, 241, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    for name, silhouette in SILHOUETTES.items():
        distance = silhouette(x, y)
        slope = np.hypot(*np.gradient(distance, axis[1] - axis[0]))[np.abs(distance) < 0.03]
        assert 0.8 < np.median(slope) < 1.2, name


UNIFORM = (np.arange(20001) + 0.5) / 20001


def test_positions_are_uniform_without_a_bias() -> None:
    np.testing.assert_allclose(draw_positions(UNIFORM, 0.0, 0.5), UNIFORM - 0.5, atol=1e-5)


def test_positions_are_all_in_the_centre_with_full_bias() -> None:
    assert np.abs(draw_positions(UNIFORM, 1.0, 0.5)).max() < 1e-5


def test_positions_are_a_truncated_normal_in_between() -> None:
    # σ = limit at b = ½: the density is exp(-x²/2) on [-1, 1], integrated here by the midpoint rule.
    x = np.linspace(-1, 1, 20001)
    density = np.exp(-(x**2) / 2)
    variance = (x**2 * density).sum() / density.sum()
    assert draw_positions(UNIFORM, 0.5, 1.0).var() == pytest.approx(variance, rel=1e-3)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 2))
def test_positions_are_finite_and_within_the_limit(uniform: float, bias: float, limit: float) -> None:
    assert abs(draw_positions(uniform, bias, limit)) <= limit * (1 + 1e-6)


def test_more_bias_brings_the_shapes_to_the_centre() -> None:
    spread = [draw_scenes(2000, seed=(0,), center_bias=b).center.std() for b in (0.0, 0.3, 0.7, 0.95)]
    assert spread == sorted(spread, reverse=True)
    assert spread[-1] < 0.1 * spread[0]


def test_the_spec_keeps_what_differs_from_the_defaults() -> None:
    data = load("shapes:test=20,center_bias=0.2,train=5000")
    assert data.spec == "shapes:test=20,center_bias=0.2"
    assert data.attrs == {
        "spec": "shapes",
        "generator": 1,
        "image_size": 32,
        "train": 5000,
        "test": 20,
        "center_bias": 0.2,
        "seed": 0,
    }
    assert load("shapes:train=12345,test=20").spec == "shapes:train=12345,test=20"
    assert load("shapes:test=20", center_bias=0.2).attrs == data.attrs


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("shapes:size=3", "no option 'size'; it has train, test, center_bias, seed"),
        ("shapes:train", "not of the form"),
        ("shapes:train=", "not of the form"),
        ("shapes:train=many", "not a whole number"),
        ("shapes:center_bias=x", "not a number"),
        ("shapes:train=9", "at least 10"),
        ("shapes:train=10.5", "whole number"),
        ("shapes:seed=-1", "at least 0"),
        ("shapes:center_bias=1.5", "out of range"),
        ("shapes:center_bias=nan", "out of range"),
    ],
)
def test_wrong_options_are_refused(spec: str, match: str) -> None:
    with pytest.raises(StripeError, match=match):
        load(spec)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(StripeError, match="at least 16 pixels"):
        load("shapes", image_size=8)
