from typing import Any

import numpy as np
import pytest
import torch

from stripe import asr
from stripe.attention import SPSA, attention
from stripe.capture import discover
from stripe.errors import StripeError
from stripe.models import build


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def weights(x: np.ndarray, alpha: float = 2, reverse: bool = True, similarity: str = "correlation") -> np.ndarray:
    """Equation 1 of the paper for one map (C, H, W), position by position."""
    found = np.empty(x.shape[1:])
    key = x.mean(axis=(1, 2))
    for i, j in np.ndindex(found.shape):
        query = x[:, i, j]
        if similarity == "correlation":
            likeness = np.corrcoef(query, key)[0, 1]
        elif similarity == "cosine":
            likeness = query @ key / np.linalg.norm(query) / np.linalg.norm(key)
        else:
            likeness = query @ key / np.sqrt(len(key))
        found[i, j] = (1 - sigmoid(likeness) if reverse else sigmoid(likeness)) ** alpha
    return found


def in_the_appendix(x: torch.Tensor, alpha: float) -> torch.Tensor:
    """The steps of the appendix's code: k and the means over channels have lost their axes."""
    k = x.mean(dim=[-1, -2])
    k_off = k - k.mean(dim=1)
    x_off = x - x.mean(dim=1)
    below = x_off.pow(2).sum(dim=1).sqrt() * k_off.pow(2).sum(dim=1).sqrt()
    likeness = (x_off * k_off).sum(dim=1) / below
    return (1 - torch.sigmoid(likeness)) ** alpha


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"alpha": 0.5},
        {"alpha": 1, "reverse": False},
        {"similarity": "dot"},
        {"similarity": "cosine", "reverse": False},
    ],
)
@pytest.mark.parametrize("shape", [(2, 64, 7, 5), (3, 16, 1, 4)])
def test_gate_is_equation_1(settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape) + 0.3
    expected = np.stack([weights(image, **settings) for image in x.double().numpy()])[:, None]
    module = SPSA(shape[1], **settings)
    assert module.gate(x).shape == (shape[0], 1, *shape[2:])
    np.testing.assert_allclose(module.gate(x).numpy(), expected, atol=1e-5)
    torch.testing.assert_close(module(x), x * module.gate(x))


def test_several_heads_are_equation_1_of_each_part_of_the_channels() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 24, 6, 4)
    expected = np.stack([[weights(part) for part in np.split(image, 3)] for image in x.double().numpy()])
    module = attention("spsa,heads=3", 24)
    assert module.kind == "both"
    assert module.gate(x).shape == x.shape
    np.testing.assert_allclose(module.gate(x).numpy(), expected.repeat(8, axis=1), atol=1e-5)
    torch.testing.assert_close(module(x), x * module.gate(x))


def test_the_code_of_the_appendix_is_not_equation_1() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 5, 5)
    with pytest.raises(RuntimeError, match="must match the size"):  # an image's average is taken off other images
        in_the_appendix(x, 2)
    # It runs where all sizes are equal, and gives something else. Keeping the axes is what makes it equation 1.
    square = torch.randn(4, 4, 4, 4)
    expected = np.stack([weights(image) for image in square.double().numpy()])
    assert np.abs(in_the_appendix(square, 2).numpy() - expected).max() > 0.05
    np.testing.assert_allclose(SPSA(4).gate(square).numpy()[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_what_does_not_vary_is_unlike_everything(dtype: torch.dtype) -> None:
    """A dead map, position or average gives the correlation 0, not 0/0, and finite gradients."""
    torch.manual_seed(0)
    for x in (torch.zeros(2, 8, 3, 3), torch.ones(2, 8, 3, 3), torch.randn(2, 8, 3, 3)):
        x[:, :, 0, 0] = 1.5
        x = x.to(dtype).requires_grad_()
        module = SPSA(8)
        value = module.gate(x)
        assert value.dtype == dtype
        assert (value[:, :, 0, 0] == 0.25).all()
        module(x).sum().backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("similarity", ["correlation", "cosine"])
@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e-2, 1e2, 1e4, 1e10])
def test_the_scale_of_a_map_does_not_matter(scale: float, similarity: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 4, 3) + 0.2
    x[:, :, 0, 0] *= 1e-3  # nor does that of a position
    module = SPSA(16, similarity=similarity)
    expected = np.stack([weights(image, similarity=similarity) for image in x.double().numpy()])[:, None]
    np.testing.assert_allclose(module.gate(x * scale).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_scale_does_not_matter_in_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = SPSA(64)
    x = (torch.randn(2, 64, 4, 4) * 2.0**-8).to(dtype)
    for factor in (1, 2.0**-4, 2.0**16):  # exact in both types
        gate = module.gate(x * factor)
        assert gate.dtype == dtype
        torch.testing.assert_close(gate.float(), module.gate(x.float()), atol=4e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_products_are_not_in_the_precision_of_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 64, 4, 4) * 1e4  # whose products leave the range of float16
    with torch.autocast("cpu", dtype):
        value = SPSA(64).gate(x)
    torch.testing.assert_close(value, SPSA(64).gate(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0, 1e-4, 0.1, 1e3])
def test_rounding_is_no_variance(scale: float, dtype: torch.dtype) -> None:
    """The average of eleven equal numbers is not quite that number; a map with one such position, and one of them."""
    torch.manual_seed(0)
    for x in (torch.randn(1, 11, 3, 3), torch.ones(1, 11, 3, 3)):
        x[:, :, 1, 1] = 0.3
        x = (x * scale).to(dtype).requires_grad_()
        module = SPSA(11)
        value = module.gate(x)
        np.testing.assert_allclose(value[0, 0, 1, 1].item(), 0.25, atol=1e-3)
        (gradient,) = torch.autograd.grad(module(x).sum(), x)
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e6


def test_eps_is_a_part_of_the_energy() -> None:
    """One position, its own average: C = variance / √((variance + ε·energy)²), here 1 / (1 + 0.5 · (1 + 4))."""
    x = torch.tensor([1.0, 3.0, 1.0, 3.0])[None, :, None, None]
    expected = (1 - sigmoid(np.array(1 / 3.5))) ** 2
    for scale in (1e-4, 1.0, 1e4):
        np.testing.assert_allclose(attention("spsa,eps=0.5", 4).gate(x * scale).item(), expected, rtol=1e-6)


def test_there_are_no_parameters() -> None:
    plain, attended = build("resnet11"), build("resnet11", attention="spsa,heads=4")
    assert attended.state_dict().keys() == plain.state_dict().keys()


def test_sites_of_several_heads() -> None:
    sites = discover(build("resnet11", attention="spsa,heads=4"), torch.randn(2, 3, 32, 32))
    assert [site.shape for site in sites] == [(4, 32, 32), (4, 16, 16), (4, 8, 8)]
    assert all(site.is_attention for site in sites)
    assert {(site.kind, site.dims) for site in sites} == {("spatial", ("group", "height", "width"))}


@pytest.mark.parametrize("text", ["spsa", "spsa,heads=4", "spsa+se", "se+spsa"])
def test_it_is_no_asr(text: str) -> None:
    with pytest.raises(StripeError, match="SPSA weighs the positions of a map, and a constant ψ has none"):
        asr.reparameterize(build("resnet11"), attention=text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spsa,heads=3", "heads is 3; SPSA divides the channels of its maps among them, here 64"),
        ("spsa,heads=0", "heads is 0"),
        ("spsa,heads=64", "heads is 64; the correlation of SPSA needs 2 channels or more for each of them.* 64 in all"),
        ("spsa,alpha=0", "alpha is 0.0; the exponent of SPSA is more than 0"),
        ("spsa,alpha=nan", "'alpha=nan' is not a number"),
        ("spsa,similarity=cosin", "'similarity=cosin' is none of correlation, cosine, dot"),
        ("spsa,reverse", "no option 'reverse'; its options are heads=, alpha=, reverse=, similarity=, eps="),
        ("spsa,eps=0", "eps is 0.0; the part of the energy that SPSA adds is more than 0"),
    ],
)
def test_what_cannot_be(text: str, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        build("resnet11", attention=text)
