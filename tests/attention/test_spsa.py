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


def test_half_precision_is_as_near_as_it_can_be() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 64, 4, 4) * 0.05
    torch.testing.assert_close(SPSA(64).gate(x.half()).float(), SPSA(64).gate(x), atol=2e-3, rtol=0)


def test_there_are_no_parameters() -> None:
    plain, attended = build("resnet11"), build("resnet11", attention="spsa,heads=4")
    assert attended.state_dict().keys() == plain.state_dict().keys()


def test_sites_of_several_heads() -> None:
    sites = discover(build("resnet11", attention="spsa,heads=4"), torch.randn(2, 3, 32, 32))
    assert [site.shape for site in sites] == [(4, 32, 32), (4, 16, 16), (4, 8, 8)]
    assert all(site.is_attention for site in sites)


@pytest.mark.parametrize("text", ["spsa", "spsa,heads=4", "spsa+se", "se+spsa"])
def test_it_is_no_asr(text: str) -> None:
    with pytest.raises(StripeError, match="SPSA weighs the positions of a map, and a constant ψ has none"):
        asr.reparameterize(build("resnet11"), attention=text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spsa,heads=3", "heads is 3; SPSA divides the channels of its maps among them, here 64"),
        ("spsa,heads=0", "heads is 0"),
        ("spsa,alpha=0", "alpha is 0.0; the exponent of SPSA is more than 0"),
        ("spsa,alpha=nan", "alpha is nan"),
        ("spsa,similarity=cosin", "'similarity=cosin' is none of correlation, cosine, dot"),
        ("spsa,reverse", "no option 'reverse'; its options are heads=, alpha=, reverse=, similarity="),
    ],
)
def test_what_cannot_be(text: str, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        build("resnet11", attention=text)
