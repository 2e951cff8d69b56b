"""Maps of a batch: equal to the definition and to pytorch-grad-cam, and nothing left behind."""

from collections import OrderedDict

import pytest
import timm
import torch
import torchvision
import xarray as xr
from torch import Tensor, nn

from stripe.errors import StripeError
from stripe.gradcam import GradCam, find_layer, gradcam
from tests.gradcam.oracle import channels_last, tokens, whole_graph


def vgg() -> nn.Module:
    """VGG11 with a small classifier: most of its 133 million parameters are there, and take half a minute to draw."""
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"])
    parts = {"features": features, "avgpool": nn.AdaptiveAvgPool2d(7), "flatten": nn.Flatten()}
    return nn.Sequential(OrderedDict(parts, classifier=nn.Linear(512 * 49, 10)))


# Model, side of the images, the layer that is to be found, how its output becomes a map.
MODELS = {
    "resnet18": (lambda: torchvision.models.resnet18(), 64, "layer4", None),
    "mobilenet_v3": (lambda: torchvision.models.mobilenet_v3_small(), 64, "features", None),
    "efficientnet": (lambda: torchvision.models.efficientnet_b0(), 64, "features", None),
    "convnext": (lambda: timm.create_model("convnext_atto"), 64, "stages", None),
    "vgg": (lambda: vgg(), 64, "features", None),
    "densenet": (lambda: timm.create_model("densenet121"), 64, "features", None),
    "swin": (
        lambda: torchvision.models.SwinTransformer([4, 4], 12, [1, 1], [2, 2], [4, 4], num_classes=10),
        64,
        "norm",
        channels_last,
    ),
    "vit": (lambda: timm.create_model("vit_tiny_patch16_224", img_size=64), 64, "blocks.11.norm1", tokens(4, 1)),
    "vit with registers": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, reg_tokens=2, depth=2),
        64,
        "blocks.1.norm1",
        tokens(4, 3),
    ),
    "vit with mean": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, global_pool="avg", class_token=False),
        64,
        "blocks",
        tokens(4, 0),
    ),
    "torchvision vit": (
        lambda: torchvision.models.VisionTransformer(64, 16, 2, 2, 24, 48, num_classes=10),
        64,
        "encoder.layers.encoder_layer_1.ln_1",
        tokens(4, 1),
    ),
}


def classifier(name: str) -> tuple[nn.Module, Tensor, str, dict]:
    build, side, layer, as_map = MODELS[name]
    torch.manual_seed(0)
    model = build().eval()
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.1)  # a classifier that begins at zero looks nowhere
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images = torch.randn(3, 3, side, side)
    with torch.no_grad():
        model.train()(images)  # batch norm of a new network lets the maps fade to 1e-15
    return model.eval(), images, layer, {} if as_map is None else {"as_map": as_map}


@pytest.mark.parametrize("name", MODELS)
def test_the_last_stage_is_found_and_the_maps_are_those_of_the_definition(name: str) -> None:
    model, images, layer, as_map = classifier(name)
    assert find_layer(model, images[:2]) == layer
    with GradCam(model, layer) as cam:
        maps, classes = cam(images)
    torch.testing.assert_close(maps, whole_graph(model, layer, images, **as_map), atol=1e-4, rtol=0)
    assert torch.equal(classes, model(images).argmax(1))
    assert maps.amax((1, 2)).tolist() == [1, 1, 1]
    assert maps.amin((1, 2)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3", "efficientnet", "convnext", "swin", "vit"])
def test_the_maps_are_those_of_pytorch_grad_cam(name: str) -> None:
    peer = pytest.importorskip("pytorch_grad_cam", exc_type=ImportError)
    model, images, layer, as_map = classifier(name)
    with GradCam(model, layer) as cam:
        maps, _ = cam(images)
    theirs = peer.GradCAM(model, [model.get_submodule(layer)], reshape_transform=as_map.get("as_map"))(images, None)
    torch.testing.assert_close(maps, torch.from_numpy(theirs), atol=1e-4, rtol=0)


class ByHand(nn.Module):
    """The layer's output is the image itself; its two classes weigh two channels differently."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Conv2d(3, 2, 1, bias=False)
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.stage.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None])
            self.fc.weight.copy_(torch.tensor([[4.0, -8.0], [-4.0, -4.0]]))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.stage(x).mean((2, 3)))
        return out


def test_by_hand() -> None:
    """α = w/4, as each of the 4 positions has gradient w/4; class 0: A₁ − 2 A₂ = [[8, −1], [2, 4]]; ReLU, 0 to 1."""
    image = torch.zeros(1, 3, 2, 2)
    image[0, 0] = torch.tensor([[8.0, 1.0], [4.0, 4.0]])
    image[0, 1] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    with GradCam(ByHand(), "stage") as cam:
        maps, classes = cam(image)
        torch.testing.assert_close(maps, torch.tensor([[[1.0, 0.0], [0.25, 0.5]]]))
        assert classes.tolist() == [0]
        assert not cam(image, 1).values.any()  # everything speaks against class 1


def test_enlarged_bilinearly() -> None:
    """Two positions [0, 1] at twice the size: middles at 1/4 and 3/4 between them, ends held, then 0 to 1."""

    class Halved(ByHand):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.fc(self.stage(x[:, :, ::2, ::2]).mean((2, 3)))
            return out

    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, :, 2:] = 1
    with GradCam(Halved(), "stage") as cam:
        torch.testing.assert_close(cam(image).values[0], torch.tensor([0, 0.25, 0.75, 1]).expand(4, 4))


def test_relu_in_place_after_the_layer(cnn: nn.Module, batch: Tensor) -> None:
    with GradCam(cnn, "stage2") as cam:
        maps, _ = cam(batch)
    torch.testing.assert_close(maps, whole_graph(cnn, "stage2", batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", ["stage1", "stage1.0", "relu"])
def test_any_layer_by_name(cnn: nn.Module, batch: Tensor, layer: str) -> None:
    """``relu`` is the last of its layers to run once, ``stage1.0`` is changed in place inside its own stage."""
    with GradCam(cnn, layer) as cam:
        torch.testing.assert_close(cam(batch).values, whole_graph(cnn, layer, batch), atol=1e-5, rtol=0)


def test_a_layer_as_a_module(cnn: nn.Module, batch: Tensor) -> None:
    with GradCam(cnn, "stage2") as cam:
        maps, _ = cam(batch)
    with GradCam(nn.DataParallel(cnn), cnn.stage2) as cam:
        assert cam.layer == "stage2"
        torch.testing.assert_close(cam(batch)[0], maps, atol=0, rtol=0)
    found = gradcam(cnn, [batch], cnn.stage2)
    assert found.attrs["layer"] == "stage2"
    xr.testing.assert_equal(found, gradcam(cnn, [batch], "stage2"))


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 3, 1), None])
def test_a_module_that_is_not_inside_of_the_model(cnn: nn.Module, batch: Tensor, layer: nn.Module | None) -> None:
    with pytest.raises(StripeError, match="is no module inside of"):
        gradcam(cnn, [batch], cnn if layer is None else layer)


def test_classes_of_ones_choice(cnn: nn.Module, batch: Tensor) -> None:
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    with GradCam(cnn, "stage2") as cam:
        maps, classes = cam(batch, labels)
        assert torch.equal(classes, labels)
        torch.testing.assert_close(maps, whole_graph(cnn, "stage2", batch, labels), atol=1e-5, rtol=0)
        assert cam(batch, 3).classes.tolist() == [3] * 6


def test_an_image_is_not_influenced_by_its_batch(cnn: nn.Module, batch: Tensor) -> None:
    cnn.train()
    with GradCam(cnn, "stage2") as cam:
        torch.testing.assert_close(cam(batch).values[2:3], cam(batch[2:3]).values)


def test_images_need_not_be_square(cnn: nn.Module) -> None:
    images = torch.rand(2, 3, 12, 20)
    assert find_layer(cnn, images) == "stage2"
    with GradCam(cnn, "stage2") as cam:
        torch.testing.assert_close(cam(images).values, whole_graph(cnn, "stage2", images), atol=1e-5, rtol=0)


def state(model: nn.Module) -> list[object]:
    modules = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    gradients = [(p.requires_grad, None if p.grad is None else p.grad.clone().tolist()) for p in model.parameters()]
    return [modules, gradients, torch.is_grad_enabled(), {k: v.tolist() for k, v in model.state_dict().items()}]


def mixed(cnn: nn.Module) -> nn.Module:
    """In training but for one module, one parameter frozen, gradients there, a hook of the user's."""
    cnn.train()
    cnn.stage1.eval()
    cnn.fc.bias.requires_grad_(False)
    cnn(torch.rand(2, 3, 16, 16)).sum().backward()
    cnn.stage2.register_forward_hook(lambda *call: None)
    return cnn


def test_the_model_is_as_before(cnn: nn.Module, batch: Tensor) -> None:
    before = state(mixed(cnn))
    find_layer(cnn, batch)
    with torch.no_grad(), GradCam(cnn, "stage2") as cam:
        cam(batch)
    assert state(cnn) == before


def test_the_model_is_as_before_after_an_exception(cnn: nn.Module, batch: Tensor) -> None:
    before = state(mixed(cnn))
    with pytest.raises(StripeError, match="Cnn does not run on a batch"), GradCam(cnn, "stage2") as cam:
        cam(batch[:, :1])
    with pytest.raises(StripeError, match="Cnn does not run on a batch"):
        find_layer(cnn, batch[:, :1])
    with pytest.raises(KeyboardInterrupt), GradCam(cnn, "stage2"):
        raise KeyboardInterrupt
    assert state(cnn) == before


def test_under_inference_mode(cnn: nn.Module, batch: Tensor) -> None:
    with torch.inference_mode(), GradCam(cnn, "stage2") as cam:
        maps, _ = cam(batch)
    torch.testing.assert_close(maps, whole_graph(cnn, "stage2", batch), atol=1e-5, rtol=0)


def test_half_precision(cnn: nn.Module, batch: Tensor) -> None:
    exact = whole_graph(cnn, "stage2", batch)
    with GradCam(cnn.bfloat16(), "stage2") as cam:
        maps, _ = cam(batch)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, exact, atol=0.1, rtol=0)


def test_wrapped_models(cnn: nn.Module, batch: Tensor) -> None:
    wrapped = nn.DataParallel(cnn)
    assert find_layer(wrapped, batch) == "stage2"
    with GradCam(wrapped, "stage2") as cam:
        torch.testing.assert_close(cam(batch).values, whole_graph(cnn, "stage2", batch), atol=1e-5, rtol=0)


class Odd(nn.Module):
    """Gives what it is told to."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.stage = nn.Conv2d(3, 2, 1)
        self.output = output

    def forward(self, x: Tensor) -> object:
        x = self.stage(x)
        return self.output(x) if callable(self.output) else self.output


@pytest.mark.parametrize(
    ("model", "layer", "message"),
    [
        (lambda: ByHand(), "stagee", "has no layer 'stagee'. Close to it: stage"),
        (lambda: ByHand(), "fc", "output of fc .* is no map over the image"),
        (lambda: Odd(lambda x: {"out": x}), "stage", "this model gives a dict"),
        (lambda: Odd(lambda x: x), "stage", r"gives a tensor of shape \(2, 2, 8, 8\)"),
        (lambda: Odd(torch.rand(2, 4)), "stage", "scores don't depend on the output of stage"),
    ],
)
def test_what_has_no_grad_cam(model, layer: str, message: str) -> None:
    images = torch.rand(2, 3, 8, 8)
    net = model()
    with pytest.raises(StripeError, match=message), GradCam(net, layer) as cam:
        cam(images)


def test_layers_without_influence_or_that_never_run(cnn: nn.Module, batch: Tensor) -> None:
    cnn.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(StripeError, match="unused does not run"), GradCam(cnn, "unused") as cam:
        cam(batch)
    original = cnn.stage2.forward
    cnn.stage2.forward = lambda x: (cnn.unused(x[:, :3]), original(x))[1]
    with pytest.raises(StripeError, match="scores don't depend on the output of unused"), GradCam(cnn, "unused") as cam:
        cam(batch)


@pytest.mark.parametrize("wanted", [5, -1, torch.tensor([0, 1, 2, 3, 4, 5])])
def test_classes_that_there_are_not(cnn: nn.Module, batch: Tensor, wanted: Tensor | int) -> None:
    with (
        pytest.raises(StripeError, match=r"There is no class (5|-1): the model tells 5 apart"),
        GradCam(cnn, "stage2") as cam,
    ):
        cam(batch, wanted)


def test_a_network_of_nan_gives_nan(cnn: nn.Module, batch: Tensor) -> None:
    nn.init.constant_(cnn.fc.bias, torch.nan)
    with GradCam(cnn, "stage2") as cam:
        assert cam(batch).values.isnan().all()
