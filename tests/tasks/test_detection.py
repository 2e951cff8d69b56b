"""Detection: torchvision's own losses under our names, evaluation that leaves no trace, what is refused."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stripe import models
from stripe.adapter import Batch
from stripe.data import Augmentation, load
from stripe.errors import StripeError
from stripe.tasks import named
from stripe.training import Compute

CPU = Compute.on(torch.device("cpu"))
TWO_STAGES = ["classifier", "box", "objectness", "rpn_box"]


@pytest.fixture(scope="module")
def data():
    return load("scenes:train=6,test=4", image_size=64)


def network(head: str = "fasterrcnn"):
    torch.manual_seed(0)
    return models.build(f"{head}:resnet11", num_classes=11, attention="se")


def prepared(model, data):
    task = named("detection", data)
    task.prepare(model, data, CPU)
    return task


def batch_of(targets, *sizes):
    torch.manual_seed(1)
    images = [torch.rand(3, *size) for size in sizes]
    return Batch(images, images, torch.full((len(images),), -1)), targets


def objects(size, *boxes, crowd=()):
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return {
        "boxes": corners,
        "labels": torch.arange(len(boxes)) % 10,
        "masks": masks,
        "area": (corners[:, 2:] - corners[:, :2]).prod(1),
        "iscrowd": torch.tensor([number in crowd for number in range(len(boxes))], dtype=torch.bool),
        "image_id": torch.tensor(0),
    }


SIZES = (64, 48), (40, 72)
"""A portrait and a landscape."""


def some(*, crowd=()):
    return batch_of([objects(SIZES[0], (4, 8, 30, 40), (20, 20, 44, 60), crowd=crowd), objects(SIZES[1])], *SIZES)


@pytest.mark.parametrize(
    ("head", "losses"),
    [("fasterrcnn", TWO_STAGES), ("maskrcnn", [*TWO_STAGES, "mask"]), ("retinanet", ["classifier", "box"])],
)
def test_losses_of_training_are_torchvisions(data, head, losses):
    model = network(head)
    task = prepared(model, data)
    assert list(task.scoring.losses) == losses
    assert task.scoring.best == "ap"
    batch, targets = some()
    torch.manual_seed(2)
    found = {name: loss.detach() for name, loss in task.forward(model.train(), batch, targets).losses.items()}
    own = [{"boxes": t["boxes"], "labels": t["labels"] + 1, "masks": t["masks"]} for t in targets]
    torch.manual_seed(2)
    again = network(head)
    torch.manual_seed(2)
    expected = {name: loss.detach() for name, loss in again.train()(list(batch.images), own).items()}
    assert sorted(map(float, found.values())) == pytest.approx(sorted(map(float, expected.values())), rel=1e-5)
    assert set(found) == set(losses)
    if head != "retinanet":
        assert float(found["classifier"]) == pytest.approx(float(expected["loss_classifier"]), rel=1e-5)
        assert float(found["rpn_box"]) == pytest.approx(float(expected["loss_rpn_box_reg"]), rel=1e-5)


@pytest.mark.parametrize("head", ["maskrcnn", "retinanet"])
def test_evaluation_leaves_no_trace_and_is_the_same_each_time(data, head):
    model = network(head).eval()
    task = prepared(model, data)
    batch, targets = some()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        first, second = (task.forward(model, batch, targets) for _ in range(2))
        plain = model(list(batch.images))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(first.losses[name], second.losses[name]) for name in first.losses)
    for ours, theirs in zip(first.detections, plain, strict=True):
        kept = theirs["labels"] > 0
        assert torch.equal(ours["boxes"], theirs["boxes"][kept])
        assert torch.equal(ours["labels"], theirs["labels"][kept] - 1)


def test_labels_of_the_network_in_another_order(data):
    """The data's classes are ten of the network's thirteen; what has the label of another is left out."""
    torch.manual_seed(0)
    model = models.build("fasterrcnn:resnet11", num_classes=14).eval()
    task = prepared(model, data)
    batch, targets = some()
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[1:]))
    with torch.no_grad():
        plain = model(list(batch.images))
    often = int(torch.cat([theirs["labels"] for theirs in plain]).mode().values)
    others = [label for label in range(13, 0, -1) if label != often]
    for positions in ([*others[:9], often], others[:10]):
        task.positions = positions
        with torch.no_grad():
            found = task.forward(model, batch, targets).detections
        assert [target["labels"].tolist() for target in seen[-1][0]] == [positions[:2], []]
        for ours, theirs in zip(found, plain, strict=True):
            labels = theirs["labels"].tolist()
            known = [number for number, label in enumerate(labels) if label in positions]
            assert ours["labels"].tolist() == [positions.index(labels[number]) for number in known]
            assert torch.equal(ours["scores"], theirs["scores"][known])


def test_the_backbone_runs_once_for_losses_and_detections(data):
    model = network("maskrcnn").eval()
    task = prepared(model, data)
    calls = []
    model.backbone.body.register_forward_hook(lambda *_: calls.append(1))
    batch, targets = some()
    with torch.no_grad():
        task.forward(model, batch, targets)
    assert calls == [1]
    assert model.backbone.training is False
    assert "forward" not in vars(model.backbone)


def test_the_losses_of_evaluation_are_those_of_the_frozen_network(data):
    """RetinaNet draws nothing: its losses in evaluation are those of training with frozen statistics."""
    model = network("retinanet").eval()
    task = prepared(model, data)
    batch, targets = some()
    with torch.no_grad():
        found = task.forward(model, batch, targets).losses
        images, _ = model.transform(list(batch.images), None)
        features = list(model.backbone(images.tensors).values())
        own = [{"boxes": t["boxes"], "labels": t["labels"] + 1} for t in targets]
        expected = model.compute_loss(own, model.head(features), model.anchor_generator(images, features))
    assert float(found["classifier"]) == pytest.approx(float(expected["classification"]), rel=1e-5)
    assert float(found["box"]) == pytest.approx(float(expected["bbox_regression"]), rel=1e-5)


def test_crowds_and_boxes_without_area_are_not_trained_on(data):
    model = network().train()
    task = prepared(model, data)
    batch, targets = some(crowd=[1])
    targets[1] = objects(SIZES[1], (10, 10, 10, 20))
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.extend(given[1]))
    task.forward(model, batch, targets)
    assert [target["boxes"].tolist() for target in seen] == [[[4, 8, 30, 40]], []]
    assert seen[0]["labels"].tolist() == [1]


def test_images_without_any_object(data):
    model = network("maskrcnn").train()
    task = prepared(model, data)
    batch, targets = batch_of([objects(size) for size in SIZES], *SIZES)
    losses = task.losses(task.forward(model, batch, targets), targets)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    meter = task.meter(training=False)
    with torch.no_grad():
        meter.update(task.forward(model.eval(), batch, targets), targets)
    assert set(meter.compute()) == set(task.scoring.measures) - {"loss", *losses}


def test_what_it_takes_of_the_data(data):
    with_masks, without = prepared(network("maskrcnn"), data), prepared(network(), data)
    assert with_masks.needed(data).annotations == ("boxes", "masks")
    assert without.needed(data).annotations == ("boxes",)
    assert without.outputs(data) == 11
    images, targets = next(iter(without.batches(without.needed(data).train, 4, seed=0, epoch=1, workers=0)))
    assert len(images) == len(targets) == 4
    assert "masks" not in targets[0]


def test_images_are_varied_as_the_options_say(data):
    task = named("detection", data, {"scale": [0.25, 0.25], "photometric": True})
    assert task.augmentation(data.train) == Augmentation(scale=(0.25, 0.25), photometric=True)
    _, targets = next(iter(task.batches(data.train, 6, seed=0, epoch=1, workers=0)))
    for target in targets:  # 64 pixels are scaled to 16, around which the crop is of unknown class
        assert (target["segmentation"] != 255).sum() == 16 * 16


def test_what_is_refused(data):
    with pytest.raises(StripeError, match=r"shapes.* have no boxes"):
        named("detection", load("shapes:train=10,test=10"))
    with pytest.raises(StripeError, match="Linear is no detector: give a model such as maskrcnn:resnet20"):
        prepared(nn.Linear(2, 2), data)
    with pytest.raises(StripeError, match="trained on masks, and scenes:train=6,test=4 has only boxes"):
        prepared(network("maskrcnn"), replace(data, annotations=("boxes",)))


@pytest.mark.parametrize(
    "name", ["retinanet:resnet11", "maskrcnn:resnet11", "torchvision:ssdlite320_mobilenet_v3_large"]
)
def test_fewer_outputs_than_classes_are_refused(data, name):
    model = models.build(name, num_classes=10)
    with pytest.raises(StripeError, match=r"10 outputs, .* 10 classes, .* must be at least 11"):
        prepared(model, data)


def test_training_images_without_any_object_are_refused(data):
    model, one, none = network(), copy.copy(data.train), copy.copy(data.train)
    one.objects, none.objects = np.array([0, 0, 0, 1, 0, 0]), np.zeros(6, dtype=int)
    prepared(model, replace(data, train=one, test=none))
    with pytest.raises(StripeError, match="None of the 6 training images of scenes:train=6,test=4 has an object"):
        prepared(model, replace(data, train=none, test=one))
