import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stripe.analysis import center_bias
from stripe.errors import StripeError
from stripe.gradcam import gradcam
from stripe.gradcam.average import distance_from_centre
from tests.gradcam.oracle import whole_graph


def loader(images: Tensor, batch_size: int = 4) -> DataLoader:
    return DataLoader(TensorDataset(images, torch.arange(len(images)) % 5), batch_size)


def test_mean_std_and_what_is_kept_of_each_image(cnn: nn.Module) -> None:
    images = torch.rand(10, 3, 16, 12)
    averages = gradcam(cnn, loader(images), maps=True)
    maps = whole_graph(cnn, "stage2", images).numpy()
    np.testing.assert_allclose(averages["map"], maps, atol=1e-4)
    np.testing.assert_allclose(averages["mean"], maps.mean(0), atol=1e-5)
    np.testing.assert_allclose(averages["std"], maps.std(0), atol=1e-5)
    np.testing.assert_allclose(averages["mass"], maps.mean((1, 2)), atol=1e-5)
    y, x = np.mgrid[:16, :12]
    distance = np.sqrt((y - 7.5) ** 2 + (x - 5.5) ** 2)
    moments = (maps * distance).mean((1, 2)) / distance.mean()
    np.testing.assert_allclose(averages["moment"], moments, atol=1e-5)
    mean = maps.mean(0)
    assert center_bias(averages).value == pytest.approx(
        (mean * distance).sum() / mean.sum() / distance.mean(), abs=1e-5
    )
    assert averages["target"].values.tolist() == cnn(images).argmax(1).tolist()
    assert averages["label"].values.tolist() == [0, 1, 2, 3, 4] * 2
    assert averages.attrs == {
        "layer": "stage2",
        "target": "predicted",
        "count": 10,
        "empty": int((maps == 0).all((1, 2)).sum()),
    }
    assert dict(averages.sizes) == {"height": 16, "width": 12, "image": 10, "y": 16, "x": 12, "rgb": 3}


def test_the_size_of_a_batch_changes_nothing(cnn: nn.Module) -> None:
    images = torch.rand(9, 3, 16, 16)
    one, many = gradcam(cnn, loader(images, 1)), gradcam(cnn, loader(images, 9))
    for name in ("mean", "std", "mass", "moment"):
        np.testing.assert_allclose(one[name], many[name], atol=1e-5)


def test_the_mean_image(cnn: nn.Module) -> None:
    images = torch.tensor([10, 20, 60], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 16, 16).contiguous()
    averages = gradcam(cnn, loader(images), "stage2", preprocess=lambda batch: batch / 255)
    assert averages["mean_image"].values.tolist() == np.full((16, 16, 3), 30).tolist()


@pytest.mark.parametrize("target", ["label", 3])
def test_the_class_that_is_asked_for(cnn: nn.Module, target: str | int) -> None:
    images = torch.rand(6, 3, 16, 16)
    classes = torch.arange(6) % 5 if target == "label" else torch.full((6,), 3)
    averages = gradcam(cnn, loader(images), target=target)
    assert averages["target"].values.tolist() == classes.tolist()
    assert averages.attrs["target"] == ("label" if target == "label" else "class 3")
    np.testing.assert_allclose(averages["mean"], whole_graph(cnn, "stage2", images, classes).mean(0), atol=1e-5)


def test_maps_of_zeros_are_counted_and_count(cnn: nn.Module) -> None:
    """Class 0 has positive evidence everywhere, class 1 none anywhere; a map that is flat says nothing either."""
    images = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        cnn.stage2[1].bias.fill_(50)
        cnn.fc.weight[0], cnn.fc.weight[1] = 1, -1
    some = gradcam(cnn, loader(images), target="label")
    assert some.attrs["empty"] >= 1
    assert (some["mass"].values == 0).sum() == some.attrs["empty"]
    none = gradcam(cnn, loader(images), target=1)
    assert none.attrs["empty"] == 4
    assert not none["mean"].any()
    assert np.isnan(center_bias(none).value)


def test_distances() -> None:
    """Corners of 3 × 3: √2, edges: 1, centre: 0; mean (4√2 + 4) / 9."""
    mean = (4 * 2**0.5 + 4) / 9
    corner, edge = 2**0.5 / mean, 1 / mean
    expected = [[corner, edge, corner], [edge, 0, edge], [corner, edge, corner]]
    np.testing.assert_allclose(distance_from_centre(3, 3), expected)


class Announced:
    def __init__(self, batches: list[Tensor], num_images: int) -> None:
        self.batches, self.num_images = batches, num_images

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (Announced([], 0), {}, "gives no images"),
        (Announced([torch.rand(2, 3, 16, 16)], 3), {}, "gave 2 images, not the 3"),
        (Announced([torch.rand(2, 3, 16, 16)] * 2, 3), {"maps": True}, "more than the 3 images"),
        (Announced([torch.rand(2, 3, 16, 16), torch.rand(1, 3, 8, 8)], 3), {}, "different sizes"),
        (Announced([torch.rand(2, 3, 16, 16)], 2), {"target": "label"}, "gives no labels"),
        (Announced([torch.rand(2, 3, 16, 16)], 2), {"target": "best"}, "must be predicted, label"),
        (Announced([torch.rand(2, 3, 16, 16)], 2), {"target": 7}, "There is no class 7"),
        (Announced([torch.zeros(2, 3, 16, 16).byte()], 2), {}, "give preprocess="),
        (Announced([torch.rand(2, 3, 16, 16)], 2), {"layer": "stage9"}, "Close to it: stage2, stage1"),
    ],
)
def test_mistakes(cnn: nn.Module, images, options, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        gradcam(cnn, images, **options)


def test_a_network_that_gives_nan(cnn: nn.Module) -> None:
    """Found in the third image, whose pixels are no numbers; with random weights of NaN in the first."""
    images = torch.rand(6, 3, 16, 16)
    images[5] = torch.nan
    with pytest.raises(StripeError, match="NaN or infinite values for 1 of 2 images of a batch, first for image 5"):
        gradcam(cnn, loader(images))
    nn.init.constant_(cnn.fc.bias, torch.nan)
    with pytest.raises(StripeError, match="for 4 of 4 images of a batch, first for image 0"):
        gradcam(cnn, loader(images), "stage2")
