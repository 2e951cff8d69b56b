"""Batches of every form in, outputs of every form out."""

import dataclasses
import threading
from collections import UserDict, namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stripe.adapter import Batch, batch_of, class_scores, copy_model, isolated, logits_of, ours, run
from stripe.errors import StripeError

IMAGES, LABELS = torch.rand(4, 3, 8, 8), torch.tensor([2, 0, 1, 1])
UNKNOWN = torch.full((4,), -1)


class Takes(nn.Module):
    """A network whose argument has a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, pixel_values: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.conv(pixel_values).mean((2, 3))


@pytest.mark.parametrize(
    ("item", "labels"),
    [
        (IMAGES, UNKNOWN),
        (IMAGES.numpy(), UNKNOWN),
        ([IMAGES], UNKNOWN),
        ((IMAGES, LABELS), LABELS),
        ([IMAGES, LABELS], LABELS),
        ((IMAGES, LABELS.tolist()), LABELS),
        ((IMAGES, LABELS.numpy()), LABELS),
        ((IMAGES, LABELS.int(), ["a.png"] * 4), LABELS),
        ((IMAGES, torch.rand(4, 5)), UNKNOWN),
        ((IMAGES, [{"boxes": torch.rand(1, 4)}] * 4), UNKNOWN),
        ({"image": IMAGES, "label": LABELS}, LABELS),
        ({"pixel_values": IMAGES, "labels": LABELS}, LABELS),
        (UserDict({"img": IMAGES, "target": LABELS}), LABELS),
        ({"anything": IMAGES, "y": LABELS}, LABELS),
        (({"image": IMAGES}, LABELS), LABELS),
        ((list(IMAGES), [{"labels": LABELS[:1]}] * 4), UNKNOWN),
        (list(IMAGES), UNKNOWN),
        ((tuple(IMAGES), tuple(LABELS.tolist())), LABELS),
    ],
)
def test_forms_of_batches(item: Any, labels: Tensor) -> None:
    batch = batch_of(item)
    assert len(batch) == 4
    assert torch.equal(torch.stack(list(batch.images)), IMAGES)
    assert torch.equal(batch.labels, labels)
    assert torch.equal(torch.stack(list(batch.first(2).images)), IMAGES[:2])
    assert torch.equal(batch.first(2).labels, labels[:2])


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (None, "no images"),
        ("photo.png", "gives str"),
        (3, "gives int"),
        ([], "list of nothing"),
        ((), "tuple of nothing"),
        ({"label": LABELS}, "none of these holds images"),
        ({"a": IMAGES, "b": IMAGES}, "a, b could all be the images"),
        (["a.png", "b.png"], "list of str, str"),
    ],
)
def test_what_is_no_batch_is_named(item: Any, words: str) -> None:
    with pytest.raises(StripeError, match=words):
        batch_of(item)


def test_entries_that_a_network_names_are_given_by_name() -> None:
    model = Takes()
    item = {"pixel_values": IMAGES, "mask": torch.ones(4), "labels": LABELS, "id": torch.arange(4)}
    batch = batch_of(item, model)
    assert sorted(batch.inputs) == ["mask", "pixel_values"]
    assert torch.equal(run(model, batch), model(IMAGES))
    assert batch.first(3).inputs["mask"].shape == (3,)
    assert torch.equal(run(model, batch_of({"image": IMAGES}, model)), model(IMAGES))


def test_on_a_network_images_are_preprocessed_and_in_its_precision() -> None:
    model = Takes().half()
    batch = batch_of((IMAGES.mul(255).byte(), LABELS)).on(model, lambda images: images / 255)
    assert batch.inputs.dtype == torch.float16
    assert torch.equal(batch.inputs, (IMAGES.mul(255).byte() / 255).half())
    with pytest.raises(StripeError, match="preprocess="):
        batch_of(IMAGES.mul(255).byte()).on(model)


def test_a_list_of_images_of_different_sizes_keeps_their_sizes() -> None:
    images = [torch.rand(3, 8, 6), torch.rand(3, 5, 9)]
    batch = batch_of((images, None)).on(nn.Conv2d(3, 1, 1), lambda image: 2 * image)
    assert [tuple(image.shape) for image in batch.images] == [(3, 8, 6), (3, 5, 9)]
    assert torch.equal(batch.images[1], 2 * images[1])
    with pytest.raises(StripeError, match="takes no list of images, and these have different sizes"):
        run(nn.Conv2d(3, 1, 1), batch)


def test_images_of_one_size_are_one_tensor_where_no_list_is_taken() -> None:
    conv = nn.Conv2d(3, 1, 1)
    assert torch.equal(run(conv, batch_of(list(IMAGES))), conv(IMAGES))


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x -= 0.5
        return x


def test_inputs_stay_as_they_are() -> None:
    images = IMAGES.clone()
    assert torch.equal(run(InPlace(), batch_of(images)), images - 0.5)
    assert torch.equal(images, IMAGES)


class Asks(nn.Module):
    """Says in which modes it is called."""

    def forward(self, x: Tensor) -> tuple[bool, bool, bool]:
        return torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()


@pytest.mark.parametrize("gradients", [True, False])
def test_modes_of_the_caller_stay_outside(gradients: bool) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(gradients):
        assert run(Asks(), batch_of(IMAGES)) == (False, False, gradients)
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
    with torch.set_grad_enabled(gradients), isolated():
        assert torch.is_grad_enabled() is gradients


def test_what_a_network_raises_is_said_and_what_we_raise_is_not_blamed_on_it() -> None:
    with pytest.raises(StripeError, match="Conv2d does not run on a batch of images of shape 4×3×8×8"):
        run(nn.Conv2d(1, 1, 1), batch_of(IMAGES))

    @ours
    def hook(*_: Any) -> None:
        raise IndexError("a mistake of ours")

    conv = nn.Conv2d(3, 1, 1)
    conv.register_forward_hook(hook)
    with pytest.raises(IndexError, match="a mistake of ours"):
        run(conv, batch_of(IMAGES))


@dataclasses.dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


Named = namedtuple("Named", ["logits", "aux_logits"])


class Attributes:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


SCORES = torch.rand(4, 5)


@pytest.mark.parametrize(
    "output",
    [
        SCORES,
        (SCORES, torch.rand(4, 2)),
        [SCORES],
        {"logits": SCORES},
        {"aux": torch.rand(4, 3), "out": SCORES},
        {"head": {"logits": SCORES}},
        Output(None, SCORES),
        Named(SCORES, None),
        Attributes(SCORES),
        ((SCORES,), {}),
    ],
)
def test_forms_of_outputs(output: Any) -> None:
    assert logits_of(output) is SCORES
    assert class_scores(output, 4) is SCORES


@pytest.mark.parametrize("output", [None, "text", {}, [], torch.rand(3, 5), torch.rand(4, 5, 2), torch.arange(4)])
def test_what_are_no_scores_is_named(output: Any) -> None:
    with pytest.raises(StripeError, match="gives scores of shape"):
        class_scores(output, 4)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_logit_is_a_classifier_of_two(shape: tuple[int, ...]) -> None:
    logits, labels = torch.randn(shape), torch.tensor([0, 1, 1, 0])
    scores = class_scores(logits, 4)
    assert torch.equal(scores.argmax(1), (logits.reshape(4) > 0).long())
    binary = nn.functional.binary_cross_entropy_with_logits(logits.reshape(4), labels.float())
    torch.testing.assert_close(nn.functional.cross_entropy(scores, labels), binary)


def test_what_cannot_be_copied_is_shared() -> None:
    model = Takes()
    model.lock = threading.Lock()
    copied = copy_model(model)
    assert copied.lock is model.lock
    assert copied.conv.weight is not model.conv.weight
    assert torch.equal(copied.conv.weight, model.conv.weight)


def test_what_refuses_every_copy_is_said() -> None:
    class Stubborn(Takes):
        def __deepcopy__(self, memo: Any) -> None:
            raise RuntimeError("not me")

    with pytest.raises(StripeError, match=r"Stubborn cannot be copied .*not me"):
        copy_model(Stubborn())


def test_a_batch_is_taken_as_it_is() -> None:
    batch = Batch(IMAGES, IMAGES, LABELS)
    assert batch_of(batch) is batch
    assert np.array_equal(batch.labels, LABELS)
