"""Images with annotations, and random changes of both, on pictures whose annotations are known by hand."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stripe.data import Augmentation, load, train_batches
from stripe.data.annotated import KINDS, AnnotatedImages, AnnotatedSplit
from stripe.data.augmentation import Target, augment, fit
from stripe.errors import StripeError
from stripe.training.holdout import hold_out

PLAIN = Augmentation(flip=0, photometric=False)


def picture(
    boxes: Sequence[tuple[int, int, int, int]], size: tuple[int, int], number: int = 0
) -> tuple[Tensor, Target]:
    """White boxes on black, which don't overlap: box k is of class k."""
    height, width = size
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    segmentation = torch.zeros(height, width, dtype=torch.uint8)
    for k, (left, top, right, bottom) in enumerate(boxes):
        masks[k, top:bottom, left:right] = True
        segmentation[top:bottom, left:right] = k + 1
    image = (masks.any(0) * 255).to(torch.uint8).expand(3, -1, -1).contiguous()
    return image, {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.arange(len(boxes)),
        "area": masks.flatten(1).sum(1).float(),
        "iscrowd": torch.zeros(len(boxes), dtype=torch.bool),
        "masks": masks,
        "segmentation": segmentation,
        "image_id": torch.tensor(number),
    }


class Pictures(AnnotatedImages):
    """Image i is of 20 + i times 30 pixels, and has i % 3 objects."""

    def __init__(self, count: int = 10, broken: int = -1) -> None:
        self.paths = [f"{i:02d}.png" for i in range(count)]
        self.broken = broken

    def read(self, index: int, kinds: Sequence[str]) -> tuple[Tensor, Target]:
        if index == self.broken:
            raise StripeError(f"{self.paths[index]} cannot be read")
        return picture([(2, 3, 12, 9), (14, 4, 28, 18)][: index % 3], (20 + index, 30), index)


def same(one: Any, other: Any) -> bool:
    """Whether two passes give the same batches."""
    for (images, targets), (images2, targets2) in zip(one, other, strict=True):
        pairs = [*zip(images, images2, strict=True)]
        for target, target2 in zip(targets, targets2, strict=True):
            assert sorted(target) == sorted(target2)
            pairs += [(target[key], target2[key]) for key in target]
        if not all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs):
            return False
    return True


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_lists_of_images_as_they_are_and_of_their_annotations(workers: int) -> None:
    batches = AnnotatedSplit(Pictures(), KINDS).loader(3, indices=[4, 0, 9, 5], workers=workers)
    assert (len(batches), batches.num_images) == (2, 4)
    (images, targets), (last, last_targets) = batches
    assert [tuple(image.shape) for image in images + last] == [(3, 24, 30), (3, 20, 30), (3, 29, 30), (3, 25, 30)]
    assert [target["image_id"].item() for target in targets + last_targets] == [4, 0, 9, 5]
    for index, image, target in zip([4, 0, 9, 5], images + last, targets + last_targets, strict=True):
        expected_image, expected = Pictures().read(index, KINDS)
        assert torch.equal(image, expected_image)
        assert sorted(target) == sorted(expected)
        for key, value in expected.items():
            assert target[key].dtype == value.dtype
            assert torch.equal(target[key], value)


def test_augmentation_depends_on_neither_workers_nor_batch_size_and_leaves_the_users_random_numbers_alone() -> None:
    split = AnnotatedSplit(Pictures(), KINDS)
    settings: dict[str, Any] = {"seed": 1, "epoch": 2, "augmentation": Augmentation(scale=(0.5, 1.5), crop=16)}
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first = list(train_batches(split, 5, workers=0, **settings))
    other = list(train_batches(split, 2, workers=2, **settings))
    assert torch.equal(torch.rand(2), expected)

    def joined(batches: Any) -> Any:
        return [tuple([*chain.from_iterable(each)] for each in zip(*batches, strict=True))]

    assert same(joined(first), joined(other))
    assert not same(joined(first), joined(list(train_batches(split, 5, workers=0, **settings | {"epoch": 3}))))


def test_a_part_of_the_images_that_is_held_out_is_varied_likewise() -> None:
    train, held = hold_out(AnnotatedSplit(Pictures(20), KINDS))
    assert (len(train), len(held), train.image_size) == (18, 2, None)
    images, _ = next(iter(train_batches(train, 18, seed=0, epoch=0, augmentation=Augmentation(crop=8), workers=0)))
    assert {tuple(image.shape) for image in images} == {(3, 8, 8)}


def test_of_a_share_the_targets_are_in_their_places_in_the_batch() -> None:
    split = AnnotatedSplit(Pictures(), KINDS)
    whole = list(train_batches(split, 5, seed=0, epoch=0, workers=0))
    shared = train_batches(split, 5, seed=0, epoch=0, workers=0, share=lambda count: np.arange(1, count, 2))
    for (images, targets), (own, own_targets) in zip(whole, shared, strict=True):
        assert [target.get("image_id") for target in own_targets[::2]] == [None] * 3
        assert same([(images[1::2], targets[1::2])], [(own, own_targets[1::2])])


def test_a_share_of_no_image_is_an_empty_batch() -> None:
    split = AnnotatedSplit(Pictures(), KINDS)
    none = train_batches(split, 5, seed=0, epoch=0, workers=0, share=lambda count: np.arange(0))
    assert list(none) == [([], [{}] * 5)] * 2


def test_an_image_that_cannot_be_read_is_named_without_the_workers_traceback() -> None:
    with pytest.raises(StripeError, match=r"^03\.png cannot be read$"):
        list(AnnotatedSplit(Pictures(broken=3), KINDS).loader(2, workers=1))


def test_fewer_kinds_of_annotations_can_be_asked_for() -> None:
    data = load("scenes:train=4,test=2", image_size=32).with_annotations(["boxes"])
    assert data.annotations == ("boxes",)
    _, targets = next(iter(data.test.loader(2, workers=0)))
    assert sorted(targets[0]) == ["area", "boxes", "image_id", "iscrowd", "labels"]
    with pytest.raises(StripeError, match="scenes:train=4,test=2 have no masks, but boxes"):
        data.with_annotations(["masks"])


def test_fit_cuts_out_the_centre_and_scales_it() -> None:
    # Of 20 × 40 pixels the middle 20 × 20 are columns 10 to 30; to 10 × 10 pixels all is halved.
    image, target = picture([(0, 0, 10, 20), (12, 4, 20, 16), (26, 10, 40, 20)], (20, 40))
    small, fitted = fit(image, target, 10)
    assert small.shape == (3, 10, 10)
    assert fitted["boxes"].tolist() == [[1, 2, 5, 8], [8, 5, 10, 10]]
    assert fitted["labels"].tolist() == [1, 2]  # nothing is left of the first
    assert fitted["area"].tolist() == [24, 10]
    expected = torch.zeros(10, 10, dtype=torch.uint8)
    expected[2:8, 1:5], expected[5:10, 8:10] = 2, 3
    assert torch.equal(fitted["segmentation"], expected)
    assert torch.equal(fitted["masks"], torch.stack([expected == 2, expected == 3]))
    assert fitted["masks"].dtype == torch.bool


def test_without_masks_the_area_is_as_much_less_as_the_box() -> None:
    image, target = picture([(12, 4, 20, 16), (26, 10, 40, 20)], (20, 40))
    target = {key: target[key] for key in ("boxes", "labels", "iscrowd")} | {"area": torch.tensor([50.0, 70.0])}
    _, fitted = fit(image, target, 10)
    # The first box is halved in both directions; of the second 4 of 14 columns are left, halved likewise.
    torch.testing.assert_close(fitted["area"], torch.tensor([12.5, 70 / 4 * 4 / 14]))


def test_a_flip_moves_all_annotations() -> None:
    image, target = picture([(2, 3, 12, 9)], (20, 30))
    flipped, moved = augment(image, target, Augmentation(flip=1, photometric=False), None)
    assert torch.equal(flipped, image.flip(-1))
    assert moved["boxes"].tolist() == [[18, 3, 28, 9]]
    assert torch.equal(moved["masks"], target["masks"].flip(-1))
    assert torch.equal(moved["segmentation"], target["segmentation"].flip(-1))


def test_where_a_crop_reaches_out_of_the_image_it_is_black_and_of_unknown_class() -> None:
    image, target = picture([(0, 0, 4, 6)], (6, 4))
    image = image.clone()
    image[:] = 255
    cropped, moved = augment(image, target, Augmentation(flip=0, photometric=False, crop=(6, 10)), None)
    inside = cropped[0] == 255
    assert inside.sum() == 24
    assert moved["segmentation"][inside].tolist() == [1] * 24
    assert moved["segmentation"][~inside].tolist() == [255] * 36
    assert torch.equal(moved["masks"][0], inside)


def test_pixels_of_unknown_class_stay_unknown() -> None:
    image, target = picture([(2, 3, 12, 9)], (20, 30))
    target["segmentation"][0] = 255
    _, moved = augment(image, target, Augmentation(flip=0, scale=(2, 2)), None)
    assert moved["segmentation"].shape == (40, 60)
    assert (moved["segmentation"][:2] == 255).all()
    assert set(moved["segmentation"].unique().tolist()) == {0, 1, 255}


def test_crowds_are_not_trained_on_and_objects_that_are_cut_away_are_left_out() -> None:
    image, target = picture([(2, 3, 12, 9), (14, 4, 28, 18)], (20, 30))
    target["iscrowd"][1] = True
    assert augment(image, target, PLAIN, None)[1]["labels"].tolist() == [0]
    torch.manual_seed(0)
    counts = {len(augment(image, target, Augmentation(crop=6), None)[1]["labels"]) for _ in range(30)}
    assert counts == {0, 1}


@given(
    seed=st.integers(0, 1000),
    scale=st.sampled_from([(1.0, 1.0), (0.4, 1.0), (0.5, 2.0), (3.0, 3.0)]),
    crop=st.sampled_from([None, 12, (30, 50), 64]),
    size=st.sampled_from([None, 16, (40, 20)]),
)
@settings(max_examples=60)
def test_after_any_change_boxes_enclose_their_masks(seed: int, scale: Any, crop: Any, size: Any) -> None:
    image, target = picture([(2, 3, 12, 9), (14, 4, 28, 18), (0, 19, 30, 20)], (20, 30))
    torch.manual_seed(seed)
    changed, moved = augment(image, target, Augmentation(scale=scale, crop=crop), size)
    wanted = crop or size
    if wanted is not None:
        assert tuple(changed.shape[1:]) == ((wanted, wanted) if isinstance(wanted, int) else wanted)
    height, width = changed.shape[1:]
    assert moved["segmentation"].shape == (height, width)
    assert {len(moved[key]) for key in ("boxes", "labels", "masks", "area", "iscrowd")} == {len(moved["labels"])}
    for box, mask, label in zip(moved["boxes"].tolist(), moved["masks"], moved["labels"], strict=True):
        rows, columns = np.nonzero(mask.numpy())
        # The mask takes the nearest pixels, the box is exact.
        assert np.abs(np.array(box) - [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).max() <= 3
        assert 0 <= box[0] < box[2] <= width
        assert 0 <= box[1] < box[3] <= height
        assert (moved["segmentation"][mask] == label + 1).all()


def test_photometric_changes_leave_annotations_and_places_alone() -> None:
    image, target = picture([(2, 3, 12, 9)], (20, 30))
    torch.manual_seed(3)
    changed = [augment(image // 2 + 50, target, Augmentation(flip=0), None) for _ in range(10)]
    assert len({pixels.float().mean().item() for pixels, _ in changed}) > 5
    assert all(torch.equal(moved["boxes"], target["boxes"]) for _, moved in changed)


@pytest.mark.parametrize("settings", [{"flip": 1.5}, {"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(StripeError, match="out of range"):
        Augmentation(**settings)


def test_a_list_of_images_is_normalised_one_by_one() -> None:
    data = load("scenes:train=4,test=3", image_size=32)
    images = [torch.full((3, 4, 5), 255, dtype=torch.uint8), torch.zeros((3, 2, 2), dtype=torch.uint8)]
    first, second = data.normalize(images)
    assert (first.shape, second.shape) == ((3, 4, 5), (3, 2, 2))
    torch.testing.assert_close(first[:, 0, 0], (1 - torch.tensor(data.mean)) / torch.tensor(data.std))
    torch.testing.assert_close(second[:, 0, 0], -torch.tensor(data.mean) / torch.tensor(data.std))


def test_annotations_are_no_classes_for_a_classifier() -> None:
    with pytest.raises(StripeError, match="have boxes and masks and segmentation rather than one class each"):
        load("scenes:train=4,test=3", image_size=32).require_classes()
