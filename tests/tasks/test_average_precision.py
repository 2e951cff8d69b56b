"""Average precision: cases worked out by hand, and pycocotools itself on the same detections."""

import io
import math
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
import torchmetrics.detection  # noqa: F401  (which takes seconds, outside of the first test)
from pycocotools import mask as encoding
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stripe.tasks.average_precision import BOX, MASK, AveragePrecision, PrecisionOfSome


def truth(*boxes, labels=None, crowd=()):
    count = len(boxes)
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes": corners,
        "labels": torch.tensor(labels or [0] * count, dtype=torch.int64),
        "area": (corners[:, 2:] - corners[:, :2]).prod(1),
        "iscrowd": torch.tensor([number in crowd for number in range(count)], dtype=torch.bool),
    }


def found(*boxes, scores, labels=None):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
        "scores": torch.tensor(scores, dtype=torch.float32),
    }


def measure(*pairs, iou_types=(BOX,)):
    metric = AveragePrecision(iou_types)
    for detections, targets in pairs:
        metric.update([detections], [targets])
    return metric.compute()


SQUARE, OTHER = (0, 0, 10, 10), (30, 30, 50, 50)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(found(SQUARE, scores=[0.3]), truth(SQUARE))], {"ap": 100, "ap50": 100, "ap75": 100, "aps": 100}),
        # Half of the objects are found: precision 1 at the recalls 0, .01 … .5, 51 of 101.
        ([(found(SQUARE, scores=[0.3]), truth(SQUARE, OTHER))], {"ap": 5100 / 101, "ap50": 5100 / 101}),
        # An overlap of .625 counts at .5, .55 and .6, three of ten.
        ([(found((0, 0, 10, 6.25), scores=[0.9]), truth(SQUARE))], {"ap": 30, "ap50": 100, "ap75": 0}),
        # Of two boxes on one object, the one with the higher score is off: precision 1/2.
        ([(found(OTHER, SQUARE, scores=[0.9, 0.8]), truth(SQUARE))], {"ap": 50, "ap50": 50}),
        # The same, but the false one is in an image without objects.
        (
            [(found(OTHER, scores=[0.9]), truth()), (found(SQUARE, scores=[0.8]), truth(SQUARE))],
            {"ap": 50, "ap50": 50},
        ),
        # A false one with a lower score costs nothing.
        ([(found(SQUARE, OTHER, scores=[0.9, 0.8]), truth(SQUARE))], {"ap": 100}),
        # The right place and the wrong class.
        ([(found(SQUARE, scores=[0.9], labels=[1]), truth(SQUARE, labels=[0]))], {"ap": 0, "ap50": 0}),
        # The mean over the two classes that there are; a third, which there is not, counts nothing.
        (
            [(found(SQUARE, OTHER, scores=[0.9, 0.9], labels=[0, 2]), truth(SQUARE, OTHER, labels=[0, 1]))],
            {"ap": 50, "ap50": 50},
        ),
        # A box in a crowd is neither right nor wrong.
        (
            [(found(SQUARE, OTHER, scores=[0.8, 0.9]), truth(SQUARE, (20, 20, 60, 60), crowd=[1]))],
            {"ap": 100, "ap50": 100},
        ),
        # Small, medium and large objects, of which only the medium one is found.
        (
            [(found((0, 0, 50, 50), scores=[0.9]), truth(SQUARE, (0, 0, 50, 50), (0, 0, 100, 100)))],
            {"aps": 0, "apm": 100, "apl": 0},
        ),
        ([(found(scores=[]), truth(SQUARE))], {"ap": 0}),
    ],
)
def test_by_hand(pairs, expected):
    values = measure(*pairs)
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-4)


def test_what_there_is_not_is_no_number():
    values = measure((found(SQUARE, scores=[0.9]), truth(SQUARE)))
    assert math.isnan(values["apm"])
    assert math.isnan(values["apl"])
    assert all(math.isnan(value) for value in measure((found(SQUARE, scores=[0.9]), truth())).values())


def test_a_mask_is_right_where_its_box_is_wrong():
    """Mask and box of one detection are each compared with their own kind."""
    inside = torch.zeros(1, 20, 20, dtype=torch.bool)
    inside[0, :10, :10] = True
    target = {**truth((0, 0, 10, 10)), "masks": inside}
    detection = {**found((10, 10, 20, 20), scores=[0.9]), "masks": inside[:, None] * 0.8}
    values = measure((detection, target), iou_types=(BOX, MASK))
    assert (values["ap"], values["mask_ap"], values["mask_ap50"]) == pytest.approx((0, 100, 100))
    assert list(values) == [
        f"{kind}{name}" for kind in ("", "mask_") for name in ("ap", "ap50", "ap75", "aps", "apm", "apl")
    ]
    assert AveragePrecision.names((BOX, MASK))["mask_ap75"] == "mask AP75"


def random_pairs(seed: int, images: int):
    """Objects of three classes and all sizes, some crowds; detections that are shifted, missing, doubled or wrong."""
    draw = np.random.default_rng(seed)
    pairs = []
    for _ in range(images):
        count = int(draw.integers(0, 6))
        corner, side = draw.uniform(0, 80, (count, 2)), draw.uniform(6, 110, (count, 2))
        boxes = np.concatenate([corner, np.minimum(corner + side, 199)], 1)
        target = truth(
            *boxes.tolist(), labels=draw.integers(0, 3, count).tolist(), crowd=np.nonzero(draw.random(count) < 0.1)[0]
        )
        kept = np.nonzero(draw.random(count) < 0.8)[0]
        near = boxes[kept] + draw.normal(0, 3, (len(kept), 4))
        more = np.concatenate([draw.uniform(0, 90, (3, 2)), draw.uniform(100, 190, (3, 2))], 1)
        labels = np.where(draw.random(len(kept)) < 0.9, target["labels"].numpy()[kept], 0)
        given = np.concatenate([near, more])
        detection = found(
            *given.tolist(),
            scores=draw.random(len(given)).tolist(),
            labels=[*labels.tolist(), *draw.integers(0, 3, 3).tolist()],
        )
        for record in (target, detection):
            masks = torch.zeros(len(record["boxes"]), 200, 200, dtype=torch.bool)
            for mask, (left, top, right, bottom) in zip(masks, record["boxes"].round().int().tolist(), strict=True):
                mask[max(top, 0) : bottom, max(left, 0) : right] = True
                mask[(top + bottom) // 2 :, (left + right) // 2 :] = False
            record["masks"] = masks
        pairs.append((detection, target))
    return pairs


def encoded(mask) -> dict:
    return encoding.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))


def by_pycocotools(pairs, kind: str) -> list[float]:
    annotations, results = [], []
    for image, (detection, target) in enumerate(pairs, 1):
        for row in range(len(target["boxes"])):
            left, top, right, bottom = target["boxes"][row].tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(target["labels"][row]),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": float(target["area"][row]),
                    "iscrowd": int(target["iscrowd"][row]),
                    "segmentation": encoded(target["masks"][row]),
                }
            )
        for row in range(len(detection["boxes"])):
            left, top, right, bottom = detection["boxes"][row].tolist()
            result = {
                "image_id": image,
                "category_id": int(detection["labels"][row]),
                "score": float(detection["scores"][row]),
            }
            box = {"bbox": [left, top, right - left, bottom - top]}
            results.append(result | (box if kind == BOX else {"segmentation": encoded(detection["masks"][row])}))
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number, "height": 200, "width": 200} for number in range(1, len(pairs) + 1)],
            "annotations": annotations,
            "categories": [{"id": number} for number in range(3)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [100 * float(value) for value in evaluation.stats[:6]]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_pycocotools_own(seed):
    pairs = random_pairs(seed, images=25)
    values = measure(*pairs, iou_types=(BOX, MASK))
    for kind, prefix in ((BOX, ""), (MASK, "mask_")):
        own = [values[f"{prefix}{name}"] for name in ("ap", "ap50", "ap75", "aps", "apm", "apl")]
        assert own == pytest.approx(by_pycocotools(pairs, kind), abs=1e-3)
        assert 5 < own[0] < 95


def test_batches_make_no_difference():
    pairs = random_pairs(3, images=8)
    one = measure(*pairs)
    metric = AveragePrecision((BOX,))
    metric.update(*(list(part) for part in zip(*pairs, strict=True)))
    assert metric.compute() == one


def test_of_some_of_the_images():
    """Without a group it is what torchmetrics computes of the images that are left."""
    pairs, groups = random_pairs(3, 12), [(), (0, 5), (1, 2, 3, 11)]
    metric = PrecisionOfSome()
    for part in (pairs[:7], pairs[7:]):
        metric.update([found for found, _ in part], [target for _, target in part])
    expected = [measure(*(pair for number, pair in enumerate(pairs) if number not in out))["ap"] for out in groups]
    assert metric.without(groups) == pytest.approx(expected, abs=1e-5)  # torchmetrics gives float32
    assert len({round(value, 3) for value in expected}) == 3


def test_of_images_without_objects():
    metric = PrecisionOfSome()
    metric.update([found(SQUARE, scores=[0.9]), found(scores=[])], [truth(SQUARE), truth()])
    assert metric.without([(), (1,)]) == pytest.approx([100, 100])
    assert math.isnan(metric.without([(0,)])[0])
    nothing = PrecisionOfSome()
    nothing.update([found(scores=[])], [truth()])
    assert math.isnan(nothing.without([()])[0])
