"""Segmentation: losses and scores by hand, images of different sizes, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stripe.adapter import Batch
from stripe.data import Augmentation, load
from stripe.errors import StripeError
from stripe.tasks import Segmentation, named
from stripe.tasks.options import SegmentationOptions
from stripe.tasks.segmentation import Maps
from stripe.training import RunConfig


class PerPixel(nn.Module):
    """Logits that are a linear function of the pixel's colours; a second output that is none of the image."""

    def __init__(self, outputs: int, aux: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, outputs, 1)
        self.aux = aux

    def forward(self, images):
        out = {"out": self.layer(images)}
        return out | {"aux": torch.zeros_like(out["out"])} if self.aux else out


def batch_of(*sizes):
    torch.manual_seed(1)
    images = [torch.randn(3, *size) for size in sizes]
    targets = [{"segmentation": torch.randint(0, 3, size).to(torch.uint8)} for size in sizes]
    return Batch(images, images, torch.full((len(images),), -1)), targets


def test_the_loss_is_the_mean_over_known_pixels_of_each_image():
    task, model = Segmentation(2), PerPixel(3)
    batch, targets = batch_of((4, 6), (4, 6))
    targets[0]["segmentation"][0] = 255
    output = task.forward(model.eval(), batch, targets)
    expected = []
    for image, target in zip(batch.images, targets, strict=True):
        probability = torch.softmax(model(image[None])["out"][0], 0).detach().numpy()
        truth = target["segmentation"].numpy()
        rows, columns = np.nonzero(truth != 255)
        expected.append(-np.log(probability[truth[rows, columns], rows, columns]).mean())
    assert float(task.losses(output, targets)["cross_entropy"].detach()) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_second_output_counts_half():
    batch, targets = batch_of((4, 6))
    for weight, options in ((0.5, None), (0.2, SegmentationOptions(aux_weight=0.2))):
        task = Segmentation(2, options)
        losses = task.losses(task.forward(PerPixel(3, aux=True), batch, targets), targets)
        assert set(losses) == {"cross_entropy", "aux"}
        assert float(losses["aux"]) == pytest.approx(weight * np.log(3), rel=1e-5)


def test_an_image_of_unknown_pixels_costs_nothing():
    task = Segmentation(2)
    batch, targets = batch_of((4, 6))
    targets[0]["segmentation"].fill_(255)
    output = task.forward(PerPixel(3), batch, targets)
    assert float(task.losses(output, targets)["cross_entropy"].detach()) == 0
    assert float(task.sums(output, targets, training=False).sum()) == 0
    assert np.isnan(task.score(0, task.sums(output, targets, training=False).tolist(), 1).miou)


def test_outputs_in_another_order():
    """Output 0 is the background, 3 the first class, 1 the second, and 2 a class that the data has not."""
    batch, targets = batch_of((4, 6), (5, 3))
    model = PerPixel(4, aux=True)
    task = Segmentation(2)
    task.positions = (3, 1)
    found = task.forward(model, batch, targets)
    plain = Segmentation(2).forward(model, batch, targets)
    for own, given in zip(found.out, plain.out, strict=True):
        assert torch.equal(own, given[[0, 3, 1, 2]])
    assert task.sums(found, targets, training=False).reshape(3, 4)[:, 3].sum() == sum(
        int((given.argmax(0) == 2).sum()) for given in plain.out
    )


def test_the_score_of_some_of_the_images():
    task = Segmentation(2)
    batch, targets = batch_of((4, 6), (5, 3), (2, 2))
    output = task.forward(PerPixel(3), batch, targets)
    judge = task.judge()
    judge.update(Maps(output.out[:2], None), targets[:2])
    judge.update(Maps(output.out[2:], None), targets[2:])
    expected = []
    for kept in ([0, 1, 2], [1]):
        some = Maps([output.out[number] for number in kept], None)
        counts = task.sums(some, [targets[number] for number in kept], training=False)
        expected.append(task.score(0, counts.tolist(), len(kept)).miou)
    assert judge.without([(), (0, 2)]) == pytest.approx(expected)


def test_the_scores_by_hand():
    """Classes 0 to 3, of which 3 occurs nowhere: intersections 3, 1, 0 of unions 5, 3, 1; and 4 of 7 pixels right."""
    truth = torch.tensor([[0, 0, 0, 0, 1, 1, 2, 255]], dtype=torch.uint8)
    found = torch.tensor([[0, 0, 0, 1, 1, 0, 4, 2]])
    logits = nn.functional.one_hot(found, 5).permute(2, 0, 1).float()
    task = Segmentation(3)
    sums = task.sums(Maps([logits], None), [{"segmentation": truth}], training=False)
    score = task.score(1.5, sums.tolist(), 1)
    assert score == pytest.approx((1.5, 100 * (3 / 5 + 1 / 3 + 0) / 3, 100 * 4 / 7))


def test_more_pixels_than_float32_counts():
    """4,100² is above 2²⁴, up to which float32 holds every whole number."""
    logits = torch.tensor([1.0, 0.0])[:, None, None].expand(2, 4100, 4100)
    truth = torch.zeros((), dtype=torch.uint8).expand(4100, 4100)
    sums = Segmentation(1).sums(Maps([logits], None), [{"segmentation": truth}], training=False)
    assert sums.tolist() == [4100**2, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("training", [False, True])
def test_images_of_different_sizes(training):
    """Each gives what it gives alone: a network that looks at single pixels does not see what is added."""
    task, model = Segmentation(2), PerPixel(3, aux=True).train(training)
    batch, targets = batch_of((4, 6), (7, 5), (4, 6))
    output = task.forward(model, batch, targets)
    for image, out, aux in zip(batch.images, output.out, output.aux, strict=True):
        assert out.shape[1:] == aux.shape[1:] == image.shape[1:]
        assert torch.allclose(out, model(image[None])["out"][0])
    losses = task.losses(output, targets)
    each = [
        task.losses(task.forward(model, Batch([image], [image], torch.tensor([-1])), [target]), [target])
        for image, target in zip(batch.images, targets, strict=True)
    ]
    mean = torch.stack([loss["cross_entropy"] for loss in each]).mean()
    assert float(losses["cross_entropy"].detach()) == pytest.approx(float(mean.detach()), rel=1e-5)


def test_what_it_takes_of_the_data():
    data = load("scenes:train=4,test=2", image_size=32)
    task = named("segmentation", data, {"scale": [1, 1]})
    assert task.outputs(data) == 11
    assert task.needed(data).annotations == ("segmentation",)
    images, targets = next(iter(task.batches(task.needed(data).train, 2, seed=0, epoch=1, workers=0)))
    assert [image.shape for image in images] == [(3, 32, 32)] * 2
    assert set(targets[0]) == {"segmentation", "image_id"}


def test_images_are_varied_as_the_options_say():
    split = load("scenes:train=4,test=2", image_size=32).train
    task = Segmentation(10, SegmentationOptions(scale=(0.25, 0.25), crop=48, photometric=True))
    assert task.augmentation(split) == Augmentation(scale=(0.25, 0.25), crop=32, photometric=True)
    split.image_size = None  # of images that have sizes of their own
    assert task.augmentation(split).crop == 48
    _, targets = next(iter(task.batches(split, 4, seed=0, epoch=1, workers=0)))
    for target in targets:  # 32 pixels are scaled to 8, around which the crop is of unknown class
        assert target["segmentation"].shape == (48, 48)
        assert (target["segmentation"] != 255).sum() == 8 * 8


def test_what_is_refused():
    data = load("scenes:train=4,test=2", image_size=32)
    with pytest.raises(StripeError, match=r"shapes.* have no class of each pixel"):
        named("segmentation", load("shapes:train=10,test=10"))
    batch, targets = batch_of((4, 6))
    with pytest.raises(StripeError, match="tells 3 classes apart, but the data has 10 and the background"):
        named("segmentation", data).forward(PerPixel(3), batch, targets)
    with pytest.raises(StripeError, match="Linear gives no class of each pixel"):
        named("segmentation", data).forward(nn.Linear(6, 2), batch, targets)
    with pytest.raises(StripeError, match="have no class of each pixel"):
        named("segmentation", replace(data, annotations=("boxes",)))


@pytest.mark.parametrize("task", ["detection", "segmentation"])
@pytest.mark.parametrize("scale", [[2, 1], [0, 1], [-1, 1]])
def test_a_scale_in_the_wrong_order_is_refused_before_anything_is_loaded(task, scale):
    said = r"scale is -?\d,1; it must be the least factor, above 0, and then the largest"
    with pytest.raises(StripeError, match=said):
        RunConfig(task=task, task_args={"scale": scale})


def test_a_crop_beside_one_size_has_no_effect_and_that_is_said(caplog):
    data = load("scenes:train=4,test=2")
    named("segmentation", replace(data, image_size=None), {"crop": 32})
    named("segmentation", data)
    assert not caplog.records
    named("segmentation", data, {"crop": 32})
    assert "crop=32 has no effect" in caplog.text


def test_a_single_value_of_a_channel_has_no_statistics():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    batch, targets = batch_of((4, 6))
    with pytest.raises(StripeError, match="take batches of 2 images at least, as batch_size=2"):
        Segmentation(2).forward(model.train(), batch, targets)
