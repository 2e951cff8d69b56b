"""Pictures to take a style from."""

import pytest
import torch

from stripe.data.paintings import PAINTINGS, draw_painting
from stripe.errors import StripeError


@pytest.mark.parametrize("name", PAINTINGS)
def test_pictures_are_bytes_decided_by_name_size_and_seed(name: str) -> None:
    picture = draw_painting(name, size=90, seed=3)
    assert picture.shape == (3, 90, 90)
    assert picture.dtype == torch.uint8
    assert torch.equal(picture, draw_painting(name, size=90, seed=3))
    assert not torch.equal(picture, draw_painting(name, size=90, seed=4))
    assert picture.float().std() > 20


@pytest.mark.parametrize("name", PAINTINGS)
@pytest.mark.parametrize("size", [1, 7, 65])
def test_any_size_can_be_drawn(name: str, size: int) -> None:
    assert draw_painting(name, size=size).shape == (3, size, size)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(StripeError, match="there are strokes, mosaic, rings; did you mean mosaic"):
        draw_painting("mosaik")
    with pytest.raises(StripeError, match="size=0 must be at least 1"):
        draw_painting("rings", size=0)
    with pytest.raises(StripeError, match="seed=-1 at least 0"):
        draw_painting("rings", seed=-1)
