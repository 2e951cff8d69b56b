import numpy as np
import pytest
import torch

from stripe.data.crops import crop_and_flip, draw_crops, mix


def _slowly(images: np.ndarray, offsets: np.ndarray, flips: np.ndarray) -> np.ndarray:
    out = np.zeros_like(images)
    height, width = images.shape[2:]
    for i, ((down, right), flip) in enumerate(zip(offsets, flips, strict=True)):
        padded = np.pad(images[i], ((0, 0), (4, 4), (4, 4)))
        crop = padded[:, down : down + height, right : right + width]
        out[i] = crop[..., ::-1] if flip else crop
    return out


@pytest.mark.parametrize("shape", [(7, 3, 9, 9), (3, 1, 4, 6), (1, 3, 1, 1)])
def test_crop_and_flip_is_what_a_loop_over_images_gives(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    offsets, flips = draw_crops(shape[0], seed=5)
    crops = crop_and_flip(torch.from_numpy(images), offsets, flips)
    assert crops.dtype == torch.uint8
    np.testing.assert_array_equal(crops.numpy(), _slowly(images, offsets.numpy(), flips.numpy()))


def test_the_middle_offset_without_a_flip_changes_nothing() -> None:
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    offsets, flips = torch.full((5, 2), 4), torch.zeros(5, dtype=torch.bool)
    assert torch.equal(crop_and_flip(images, offsets, flips), images)


def test_draws_cover_every_offset_and_both_directions() -> None:
    offsets, flips = draw_crops(5000, seed=1)
    assert sorted(set(map(tuple, offsets.tolist()))) == [(i, j) for i in range(9) for j in range(9)]
    assert 0.45 < flips.float().mean() < 0.55


def test_mix_tells_its_numbers_apart() -> None:
    seeds = {mix(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
