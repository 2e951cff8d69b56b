"""Images of different sizes, as detectors take them: a list, of which the network makes a batch itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stripe import report
from stripe.analysis import stripe_index
from stripe.capture import CaptureSession, capture, discover, open_capture
from stripe.errors import StripeError
from tests.conftest import Net, SpatialGate, SqueezeExcite

SIZES = [(40, 60), (64, 48), (50, 50), (30, 100), (33, 47)]


def loader(labels: object = None) -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    items = [(torch.rand(3, *size, generator=generator), labels) for size in SIZES]
    return DataLoader(items, batch_size=2, collate_fn=lambda batch: tuple(zip(*batch, strict=True)))


class Padding(nn.Module):
    """Makes a batch of a list of images, as torchvision's detectors do: each is written into its corner of zeros."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: list[Tensor]) -> Tensor:
        height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
        batch = images[0].new_full((len(images), 3, height, width), 0)
        for row, image in enumerate(images):
            batch[row, :, : image.shape[1], : image.shape[2]].copy_(image)
        return self.net(batch)


class Stacking(nn.Module):
    """Cuts a list of images to one size and stacks them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: list[Tensor]) -> Tensor:
        return self.net(torch.stack([(image[:, :16, :16] - 0.5) / 0.2 for image in images]))


@pytest.mark.parametrize("wrap", [Padding, Stacking])
def test_values_do_not_depend_on_the_form(wrap, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = wrap(Net(SqueezeExcite(4))).eval()
    tree = open_capture(capture(model, loader(), tmp_path / "capture.h5"))
    expected = []
    with torch.no_grad():
        model.net.att.register_forward_pre_hook(lambda _, args: expected.append(model.net.att.gate(args[0])))
        for images, _ in loader():
            model(list(images))
    np.testing.assert_allclose(tree["sites/net.att/attention"][0], torch.cat(expected).flatten(1), rtol=1e-5)
    assert tree["label"].values.tolist() == [-1] * len(SIZES)


def test_thumbnails_keep_their_proportions(tmp_path: Path) -> None:
    tree = open_capture(capture(Padding(Net(SqueezeExcite(4))), loader(), tmp_path / "capture.h5"))
    pictures = tree["thumbnail"].values
    assert pictures.shape == (5, 64, 64, 3)
    # 30×100 shrinks to 19×64, in the middle of the box; black above and below.
    rows = np.flatnonzero(pictures[3].any((1, 2)))
    assert (rows[0], rows[-1] + 1) == (22, 41)
    assert pictures[3, 30].any(1).sum() > 60


def test_spatial_attention_needs_one_size(tmp_path: Path) -> None:
    with pytest.raises(StripeError, match="size"):
        capture(Padding(Net(SpatialGate())), loader(), tmp_path / "capture.h5")


@pytest.mark.parametrize(
    "labels", [None, {"boxes": torch.zeros(1, 4), "labels": torch.tensor([1])}, torch.zeros(3), "cat", 0.5]
)
def test_labels_may_be_anything(labels, tmp_path: Path) -> None:
    tree = open_capture(capture(Stacking(Net(SqueezeExcite(4))), loader(labels), tmp_path / "capture.h5"))
    assert tree["label"].values.tolist() == [-1] * len(SIZES)


def test_a_detector_from_discovery_to_report(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_fpn(
        weights=None,
        weights_backbone=None,
        min_size=64,
        max_size=96,
        box_detections_per_img=5,
        rpn_post_nms_top_n_test=5,
    ).eval()
    target = {"boxes": torch.zeros(1, 4), "labels": torch.tensor([1])}
    first, _ = next(iter(loader()))
    sites = discover(model, list(first))
    assert [site.name for site in sites] == [
        f"backbone.body.{number}.block.2" for number in (4, 5, 6, 11, 12, 13, 14, 15)
    ]
    assert all(site.is_attention and site.kind == "channel" for site in sites)
    path = tmp_path / "capture.h5"
    with CaptureSession(model, loader(target), path) as session:
        session.record(0)
    tree = open_capture(path)
    assert tree["sites/backbone.body.4.block.2/attention"].shape == (1, 5, 72)
    index = stripe_index(tree["sites/backbone.body.4.block.2/attention"])
    assert index.shape == (1,)
    assert 0 <= float(index[0]) <= 1
    page = report.save(tmp_path / "report.html", path, [])
    assert "backbone.body.15.block.2" in Path(page).read_text()
