"""The network of style transfer."""

import pytest
import torch
from torch import nn

from stripe.asr import fuse, known_places, reparameterize
from stripe.data import Normalization
from stripe.errors import StripeError
from stripe.models import build, native_image_size
from stripe.models.style import StyleNetwork, stylize

NORMS = ["in1", "in2", "in3", *(f"res{n}.in{k}" for n in range(1, 6) for k in (1, 2)), "in4", "in5"]


def test_it_has_the_parameters_of_the_example() -> None:
    widths = [(3, 32, 9), (32, 64, 3), (64, 128, 3), *[(128, 128, 3)] * 10, (128, 64, 3), (64, 32, 3), (32, 3, 9)]
    convolutions = sum(a * b * k * k + b for a, b, k in widths)
    normalisations = 2 * (32 + 64 + 128 + 10 * 128 + 64 + 32)
    assert convolutions + normalisations == 1_679_235
    for norm in ("in", "bn"):
        assert sum(p.numel() for p in build("style", args={"norm": norm}).parameters()) == 1_679_235


def test_names_are_those_of_the_example() -> None:
    names = dict(build("style", args={"width": 2}).named_parameters())
    assert {"conv1.conv2d.weight", "in1.weight", "res5.conv2.conv2d.bias", "res5.in2.bias", "in5.weight"} <= set(names)
    assert list(names)[-1] == "deconv3.conv2d.bias"


@pytest.mark.parametrize("size", [(32, 32), (37, 21), (1, 1), (5, 64), (8, 8), (2, 3)])
@pytest.mark.parametrize("norm", ["in", "bn"])
def test_images_keep_their_size(norm: str, size: tuple[int, int]) -> None:
    model = build("style", args={"norm": norm, "width": 2, "blocks": 1}).eval()
    made = model(torch.randn(2, 3, *size))
    assert made.shape == (2, 3, *size)
    assert made.isfinite().all()


def test_sizes_that_are_multiples_of_four_are_not_padded() -> None:
    """The arithmetic, written out with functions."""
    torch.manual_seed(0)
    model = StyleNetwork("in", width=2, blocks=1).double()
    x = torch.randn(1, 3, 12, 16, dtype=torch.float64)

    def conv(name: str, y: torch.Tensor, stride: int = 1) -> torch.Tensor:
        layer = model.get_submodule(name).conv2d
        pad = layer.kernel_size[0] // 2
        padded = torch.nn.functional.pad(y, (pad,) * 4, mode="reflect")
        return torch.nn.functional.conv2d(padded, layer.weight, layer.bias, stride)

    def norm(name: str, y: torch.Tensor) -> torch.Tensor:
        layer = model.get_submodule(name)
        centred = y - y.mean((2, 3), keepdim=True)
        scaled = centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        return scaled * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)

    def enlarged(y: torch.Tensor) -> torch.Tensor:
        return y.repeat_interleave(2, 2).repeat_interleave(2, 3)

    y = norm("in1", conv("conv1", x)).relu()
    y = norm("in2", conv("conv2", y, 2)).relu()
    y = norm("in3", conv("conv3", y, 2)).relu()
    y = y + norm("res1.in2", conv("res1.conv2", norm("res1.in1", conv("res1.conv1", y)).relu()))
    y = norm("in4", conv("deconv1", enlarged(y))).relu()
    y = norm("in5", conv("deconv2", enlarged(y))).relu()
    torch.testing.assert_close(model(x), conv("deconv3", y))


@pytest.mark.parametrize("attention", ["se", "srm", "dia"])
@pytest.mark.parametrize("norm", ["in", "bn"])
def test_asr_follows_every_normalisation_and_fuses_exactly(norm: str, attention: str) -> None:
    torch.manual_seed(0)
    model = build("style", args={"norm": norm, "width": 4})
    keys = list(model.state_dict())
    model(torch.randn(2, 3, 16, 16))  # statistics of batch normalisation
    assert reparameterize(model, attention=attention, start=None) == NORMS
    model.eval()
    fused, images = fuse(model), torch.randn(2, 3, 20, 17)
    assert list(fused.state_dict()) == keys
    assert torch.equal(fused(images), model(images))


@pytest.mark.parametrize("attention", ["se", "srm", "cbam"])
def test_attention_follows_every_normalisation(attention: str) -> None:
    model = build("style", args={"width": 4, "blocks": 2}, attention=attention)
    modules = [name for name, _ in model.named_modules() if name.rpartition(".")[2].startswith("attention")]
    assert len(modules) == 3 + 2 * 2 + 2
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 3, 16, 16)
    assert [name for (name,) in known_places(model).groups][:4] == NORMS[:4]  # and no normalisation of the attention


def test_the_gate_of_se_is_a_constant_after_instance_normalisation() -> None:
    """The mean of a map that is normalised image by image is β, whatever the image: SE sees nothing else."""
    model = build("style", args={"norm": "in", "width": 16}, attention="se").eval()
    seen: list[torch.Tensor] = []
    module: nn.Module = model.get_submodule("res1.attention1")
    module.register_forward_pre_hook(lambda _, inputs: seen.append(module.gate(inputs[0])))  # type: ignore[operator]
    for seed in (1, 2):
        model(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed)))
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"args": {"norm": "ln"}}, "norm='ln' is no normalisation of style; there are in and bn"),
        ({"args": {"width": 0}}, "width=0 and blocks=5: both must be at least 1"),
        ({"args": {"width": "wide"}}, "width='wide' of style must be a whole number"),
        ({"args": {"depth": 3}}, "style takes the arguments norm, width, blocks, but got depth"),
        ({"num_classes": 10}, "style makes images of 3 channels and tells no classes apart"),
        ({"pretrained": True}, "no published weights of style"),
        ({"attention": "sse"}, "unknown attention 'sse'"),
    ],
)
def test_what_cannot_be_built_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(StripeError, match=message):
        build("style", **settings)  # type: ignore[arg-type]


def test_it_takes_images_as_they_are() -> None:
    assert native_image_size("style") is None


def test_stylize_normalises_and_gives_bytes() -> None:
    """A network that adds 1 to normalised images: a standard deviation more in every pixel."""

    class Brighter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.one

    images = torch.tensor([[0, 100], [200, 255]], dtype=torch.uint8).expand(1, 3, 2, 2)
    made = stylize(Brighter(), images, Normalization((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)))
    assert made.dtype == torch.uint8
    assert made[0, 1].tolist() == [[51, 151], [251, 255]]
