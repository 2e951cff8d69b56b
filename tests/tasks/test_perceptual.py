"""Perceptual losses: by hand, by numpy, and the layers that are compared by default."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stripe import checkpoint
from stripe.data import Normalization
from stripe.errors import StripeError
from stripe.models import build
from stripe.tasks.perceptual import Perceptual, gram, load_classifier, square_error, total_variation, trunk


def test_gram_matrix_by_hand() -> None:
    """Two channels of two pixels: [1, 2] and [3, 4]; products 5, 11, 25, divided by 2 channels times 2 pixels."""
    maps = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    assert gram(maps).tolist() == [[[1.25, 2.75], [2.75, 6.25]]]


def test_gram_matrix_of_each_image() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 6))
    expected = np.einsum("ncij,ndij->ncd", values, values) / (4 * 5 * 6)
    np.testing.assert_allclose(gram(torch.from_numpy(values)).numpy(), expected)


def test_square_error_of_each_image() -> None:
    one, other = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[0.0, 0.0]])
    assert square_error(one, other).tolist() == [2.5, 8.0]


def test_total_variation_by_hand() -> None:
    """Rows 0 1 and 3 3: right |1| + |0|, down |3| + |2|, over four pixels."""
    images = torch.tensor([[[[0.0, 1.0], [3.0, 3.0]]]])
    assert total_variation(images).tolist() == [1.5]
    assert total_variation(torch.ones(2, 3, 1, 1)).tolist() == [0, 0]


class Tiny(nn.Module):
    """Convolution, activation in place, convolution; and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 5, 1), nn.ReLU(True)
        )
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


def test_layers_see_normalised_images_before_what_follows_writes_into_them() -> None:
    torch.manual_seed(0)
    network = Tiny()
    seen = Perceptual(network, ["features.0", "features.4"], Normalization((0.5,), (0.25,)))
    images = torch.rand(2, 3, 6, 8)
    convolution = network.features[0]
    first = nn.functional.conv2d((images - 0.5) / 0.25, convolution.weight, convolution.bias, padding=1)
    maps = seen(images)
    assert list(maps) == ["features.0", "features.4"]
    assert (first < 0).any()
    torch.testing.assert_close(maps["features.0"], first)
    torch.testing.assert_close(maps["features.4"], network.features[3:](nn.functional.max_pool2d(first.relu(), 2)))


def test_it_ends_after_the_last_layer_and_leaves_no_hook() -> None:
    network = Tiny()
    network.head.forward = lambda x: pytest.fail("the head is not needed")  # type: ignore[method-assign]
    seen = Perceptual(network, ["features.1"])
    seen(torch.rand(1, 3, 4, 4))
    assert not any(module._forward_hooks for module in network.modules())


def test_it_is_never_trained() -> None:
    seen = Perceptual(build("resnet20-basic"))
    seen.train()
    assert not any(module.training for module in seen.network.modules())
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    sum(maps.sum() for maps in seen(images).values()).backward()
    assert images.grad is not None
    assert all(parameter.grad is None for parameter in seen.parameters())


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        # relu1_2, relu2_2, relu3_3 and relu4_3 of PyTorch's example, which slices features at 4, 9, 16 and 23
        ("torchvision:vgg16", ("features.3", "features.8", "features.15", "features.22")),
        ("resnet20-basic", ("layer1.2", "layer2.2", "layer3.2")),
        ("timm:resnet18", ("act1", "layer1.1", "layer2.1", "layer3.1")),
    ],
)
def test_default_layers(name: str, layers: tuple[str, ...]) -> None:
    with torch.device("meta"):  # the names alone, without the weights of a VGG
        network = build(name)
        assert trunk(network) == layers


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["features.9"], "the Tiny that is to compare pictures has no layer 'features.9'; did you mean features"),
        (["head"], "the layer 'head' gives no maps"),
    ],
)
def test_layers_that_cannot_be_compared(layers: list[str], message: str) -> None:
    with pytest.raises(StripeError, match=message):
        Perceptual(Tiny(), layers)(torch.rand(1, 3, 4, 4))


def test_a_network_without_maps_is_refused() -> None:
    with pytest.raises(StripeError, match=r"has no layers with maps .* name its layers with style_layers="):
        trunk(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)))


def test_a_classifier_of_a_checkpoint_has_its_normalisation(tmp_path: Path) -> None:
    network = build("resnet20-basic", num_classes=7)
    meta = {"model": "resnet20-basic", "num_classes": 7, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "epoch": 3}
    checkpoint.save(tmp_path / "seen.safetensors", network, {**meta, "data": "folder:photos"})
    found, normalization, said = load_classifier(None, str(tmp_path / "seen.safetensors"))
    assert normalization == Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert said == {"model": "resnet20-basic", "data": "folder:photos", "epoch": 3}
    assert torch.equal(found.state_dict()["fc.weight"], network.state_dict()["fc.weight"])


def test_a_classifier_without_published_weights_needs_a_checkpoint() -> None:
    with pytest.raises(StripeError, match=r"no published weights of resnet20-basic, .* give perceptual_ckpt="):
        load_classifier("resnet20-basic", None)


def test_weights_that_do_not_say_their_network(tmp_path: Path) -> None:
    torch.save(build("resnet20-basic").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(StripeError, match="does not say which classifier it is of; name it with perceptual="):
        load_classifier(None, str(tmp_path / "weights.pth"))
    _, normalization, said = load_classifier("resnet20-basic", str(tmp_path / "weights.pth"))
    assert said == {"model": "resnet20-basic"}
    assert normalization.mean == (0.485, 0.456, 0.406)
