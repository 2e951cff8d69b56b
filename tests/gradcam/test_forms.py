"""Grad-CAM is the same in every mode, and for every form of batches, outputs and networks."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stripe.errors import StripeError
from stripe.gradcam import GradCam, find_layer, gradcam
from tests.foreign import BATCHES, MODES, OUTPUTS, WAYS, Se, ambient, plain


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    return [(torch.rand(3, 3, 8, 8), torch.arange(3)) for _ in range(2)]


def same(found: xr.Dataset, wanted: xr.Dataset, atol: float = 1e-5) -> None:
    for name in ("mean", "std", "mass", "moment"):
        np.testing.assert_allclose(found[name], wanted[name], atol=atol)
    for name in ("target", "label", "mean_image"):
        np.testing.assert_array_equal(found[name], wanted[name])
    assert found.attrs == wanted.attrs


def of_loader(net: nn.Module, batches: list[tuple[Tensor, Tensor]], **options) -> xr.Dataset:
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return gradcam(net, DataLoader(TensorDataset(images, labels), 3), **options)


@pytest.mark.parametrize("mode", MODES)
def test_in_every_mode(mode: str, batches) -> None:
    net = Se().eval()
    wanted = of_loader(net, batches)
    with ambient(mode):
        given = [(images.clone(), labels.clone()) for images, labels in batches]
        same(gradcam(net, given), wanted)
        layer = find_layer(net, given[0][0])
        with GradCam(net, layer) as cam:
            maps, _ = cam(given[0][0])
    assert layer == wanted.attrs["layer"]
    with GradCam(net, layer) as cam:
        torch.testing.assert_close(maps, cam(batches[0][0]).values)


@pytest.mark.parametrize("form", BATCHES)
def test_every_form_of_batches(form: str, batches) -> None:
    net = Se().eval()
    given = [BATCHES[form](images, labels) for images, labels in batches]
    same(gradcam(net, given, target="label"), of_loader(net, batches, target="label"))


def test_batches_of_named_inputs(batches) -> None:
    net = OUTPUTS["Dataclass"]().eval()
    given = [{"pixel_values": images, "labels": labels} for images, labels in batches]
    same(gradcam(net, given, target="label"), of_loader(plain(net), batches, target="label"))


@pytest.mark.parametrize("form", OUTPUTS)
def test_every_form_of_outputs(form: str, batches) -> None:
    net = OUTPUTS[form]().eval()
    same(gradcam(net, batches), of_loader(plain(net), batches))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layer", [None, "conv", "att"])
def test_every_way_to_write_a_network(way: str, layer: str | None, batches) -> None:
    net = WAYS[way]().eval()
    before = [images.clone() for images, _ in batches]
    found = gradcam(net, batches, layer)
    assert all(torch.equal(images, kept) for (images, _), kept in zip(batches, before, strict=True))
    if way == "WithAutocast":  # in bfloat16
        wanted = of_loader(plain(net), batches, layer=found.attrs["layer"])
        np.testing.assert_allclose(found["mean"], wanted["mean"], atol=0.1)
    else:
        same(found, of_loader(plain(net), batches, layer=layer))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("one", [lambda net: net, lambda net: nn.Sequential(net, nn.Flatten(0))])
def test_one_logit(one, batches) -> None:
    """Class 1 is predicted where the logit is positive; its evidence is that for the logit, class 0's that against."""
    net = Se().eval()
    net.fc = nn.Linear(4, 1)
    with torch.no_grad():
        net.fc.bias -= net(batches[0][0]).median()  # one of the images is on the other side
        logits = torch.cat([net(images)[:, 0] for images, _ in batches])
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    given = [(images, labels[:3] if number == 0 else labels[3:]) for number, (images, _) in enumerate(batches)]
    layer = gradcam(one(net), given).attrs["layer"]
    assert gradcam(one(net), given)["target"].values.tolist() == (logits > 0).long().tolist()
    assert gradcam(one(net), given, target="label")["target"].values.tolist() == labels.tolist()
    two = Se().eval()
    two.load_state_dict(net.state_dict() | {"fc.weight": two.fc.weight, "fc.bias": two.fc.bias})
    two.fc = nn.Linear(4, 2)
    with torch.no_grad():
        two.fc.weight.copy_(torch.cat([-net.fc.weight, net.fc.weight]))
        two.fc.bias.copy_(torch.cat([-net.fc.bias, net.fc.bias]))
    found = gradcam(net, given, layer.removeprefix("0."), target="label")
    same(found, of_loader(two, given, layer=layer.removeprefix("0."), target="label"))


def test_labels_that_are_numbered_in_another_way(batches) -> None:
    """The evidence is that of the network's class, the label stays the data's."""
    net = Se().eval()
    found = gradcam(net, batches, target="label", classes=[7, 0, 2])
    assert found["target"].values.tolist() == [7, 0, 2] * 2
    assert found["label"].values.tolist() == [0, 1, 2] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "gives no images"),
        ([{"name": "a"}], "none of these holds images"),
        ([[torch.rand(3, 8, 8), torch.rand(3, 9, 9)]], "have different sizes"),
        ([(torch.rand(2, 3, 8, 8), torch.tensor([0.3, 0.7]))], "gives no labels"),
    ],
)
def test_what_is_not_taken_is_said(given, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        gradcam(Se().eval(), given, target="label")


def test_weights_without_values_or_gradients(batches) -> None:
    with pytest.raises(StripeError, match=r"conv\.weight is on the meta device"):
        gradcam(Se().to("meta"), batches)
    with pytest.raises(StripeError, match="has no shape before the network has run once"):
        gradcam(nn.Sequential(nn.LazyConv2d(3, 1), Se()), batches)
    with torch.inference_mode():
        net = Se().eval()
    same(gradcam(net, batches), of_loader(plain(net), batches))
