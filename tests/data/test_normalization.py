import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from stripe.data import Normalization, load, normalization_of, parse_normalization
from stripe.errors import StripeError


@pytest.mark.parametrize(
    ("text", "mean", "std"),
    [
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("cifar10", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("cifar100", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        ("half", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("none", (0, 0, 0), (1, 1, 1)),
        ("0.5/0.25", (0.5,) * 3, (0.25,) * 3),
        (".1,.2,.3/.4", (0.1, 0.2, 0.3), (0.4,) * 3),
        (".1, .2, .3/.4, .5, .6", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    ],
)
def test_names_and_numbers(text: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    assert parse_normalization(text) == (mean, std)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("imagnet", "is no normalisation. Give imagenet, cifar10"),
        ("0.5", "is no normalisation"),
        ("0.5/0.5/0.5", "is no normalisation"),
        ("a,b,c/d", "is no normalisation"),
        ("", "is no normalisation"),
        ("0.5,0.5/0.5", "has 2 means and 1 stds"),
        ("0.5/0", "each std above 0"),
        ("0.5/-1", "each std above 0"),
        ("nan/0.5", "finite"),
        ("0.5/inf", "finite"),
        ("123.7,116.3,103.5/58.4,57.1,57.4", "divide them by 255"),
    ],
)
def test_what_is_none(text: str, match: str) -> None:
    with pytest.raises(StripeError, match=match):
        parse_normalization(text)


def test_of_a_data_set() -> None:
    assert normalization_of("folder:/photos") == parse_normalization("imagenet")
    assert normalization_of("shapes:seed=3") == load("shapes").normalization
    assert normalization_of("my.data") is None


def test_grey_images() -> None:
    """Against torchvision's grey values, which are rounded down."""
    data = load("shapes:train=10,test=10", image_size=16)
    images, _ = next(iter(data.test.loader(4)))
    grey = data.normalized(Normalization((0.25,), (0.5,))).normalize(images)
    assert grey.shape == (4, 1, 16, 16)
    assert grey.dtype == torch.float32
    np.testing.assert_allclose(grey, (v2.functional.rgb_to_grayscale(images) / 255 - 0.25) / 0.5, atol=3 / 255)
    same = images[:, :1].expand(-1, 3, -1, -1)
    found = data.normalized(Normalization((0.0,), (1.0,))).normalize(same)
    np.testing.assert_allclose(found, same[:, :1] / 255, atol=1e-6)


def test_channels() -> None:
    assert parse_normalization("0.5/0.25").of_channels(1) == (pytest.approx((0.5,)), pytest.approx((0.25,)))
    mean, std = parse_normalization("imagenet").of_channels(1)
    assert mean == pytest.approx((0.299 * 0.485 + 0.587 * 0.456 + 0.114 * 0.406,))
    assert std == pytest.approx((0.299 * 0.229 + 0.587 * 0.224 + 0.114 * 0.225,))
    assert Normalization((0.1,), (0.2,)).of_channels(3) == ((0.1,) * 3, (0.2,) * 3)
