import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from torch.nn import functional as F

from stripe import asr
from stripe.attention import FCA
from stripe.attention.fca import FREQUENCIES, filters, groups
from stripe.models import build

# FcaNet's published indices (get_freq_indices of "top16" and "low16"): along the height, and along the width.
TOP = [0, 0, 6, 0, 0, 1, 1, 4, 5, 1, 3, 0, 0, 0, 3, 2], [0, 1, 0, 5, 2, 0, 2, 0, 0, 6, 0, 4, 6, 3, 5, 2]
LOW = [0, 0, 1, 1, 0, 2, 2, 1, 2, 0, 3, 4, 0, 1, 3, 0], [0, 1, 0, 1, 2, 0, 1, 2, 2, 3, 0, 0, 4, 3, 1, 5]


def published(
    x: torch.Tensor, module: FCA, size: tuple[int, int], indices: tuple[list[int], list[int]]
) -> torch.Tensor:
    """What FcaNet's layer gives that was made for maps of a size, number by number."""

    def cosine(position: int, frequency: int, length: int) -> float:
        value = math.cos(math.pi * frequency * (position + 0.5) / length) / math.sqrt(length)
        return value if frequency == 0 else value * math.sqrt(2)

    if x.shape[2:] != size:
        x = F.adaptive_avg_pool2d(x, size)
    part = x.shape[1] // 16
    weight = np.zeros((x.shape[1], *size))
    for group, (u, v) in enumerate(zip(*indices, strict=True)):
        for i, j in np.ndindex(size):
            value = cosine(i, u * (size[0] // 7), size[0]) * cosine(j, v * (size[1] // 7), size[1])
            weight[group * part : (group + 1) * part, i, j] = value
    squeezed = (x * torch.from_numpy(weight)).sum((2, 3))
    return torch.sigmoid(F.relu(squeezed @ module.fc1.weight.T) @ module.fc2.weight.T)[:, :, None, None]


@pytest.mark.parametrize(
    ("shape", "size"),
    [((7, 7), (7, 7)), ((14, 28), (14, 28)), ((32, 16), (28, 14)), ((4, 5), (7, 7)), ((1, 1), (7, 7))],
)
@pytest.mark.parametrize(("frequencies", "indices"), [("top", TOP), ("low", LOW)])
def test_gate_is_that_of_the_published_layer(
    shape: tuple[int, int], size: tuple[int, int], frequencies: str, indices: tuple[list[int], list[int]]
) -> None:
    torch.manual_seed(0)
    module = FCA(32, frequencies=frequencies).double()
    x = torch.randn(2, 32, *shape, dtype=torch.float64)
    expected = published(x, module, size, indices)
    torch.testing.assert_close(module.gate(x), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(module(x), x * module.gate(x))


@pytest.mark.parametrize("size", [7, 14, 56])
@pytest.mark.parametrize("frequencies", ["top", "low"])
def test_coefficients_are_those_of_scipy(size: int, frequencies: str) -> None:
    x = np.random.default_rng(0).normal(size=(size, size))
    spectrum = dctn(x, norm="ortho")
    weights = filters(size, size, FREQUENCIES[frequencies])
    factor = size // 7
    expected = [spectrum[u * factor, v * factor] for u, v in FREQUENCIES[frequencies]]
    np.testing.assert_allclose((weights * x).sum((1, 2)), expected, atol=1e-10)


def test_low_frequencies_are_the_lowest() -> None:
    sums = [u + v for u, v in FREQUENCIES["low"]]
    assert len(set(FREQUENCIES["low"])) == len(set(FREQUENCIES["top"])) == 16
    assert (sums.count(0), sums.count(1)) == (1, 2)
    assert max(sums) == 5


@pytest.mark.parametrize(("channels", "sizes"), [(32, [2] * 16), (16, [1] * 16), (58, [3, 4]), (4, [1])])
def test_channels_are_groups_in_a_row(channels: int, sizes: list[int]) -> None:
    group = groups(channels)
    assert (np.diff(group) >= 0).all()
    assert set(np.bincount(group).tolist()) - {0} == set(sizes)
    assert not FCA(channels).state_dict().keys() - {"fc1.weight", "fc2.weight"}


def test_a_constant_is_seen_by_the_first_group_alone() -> None:
    torch.manual_seed(0)
    module = FCA(32).double()
    psi = torch.randn(32, dtype=torch.float64)
    seen = torch.zeros(32, dtype=torch.float64)
    seen[:2] = 7 * psi[:2]
    expected = torch.sigmoid(F.relu(seen @ module.fc1.weight.T) @ module.fc2.weight.T)
    torch.testing.assert_close(module.constant(psi), expected)


@pytest.mark.parametrize("transform", [torch.func.grad, torch.inference_mode()], ids=["torch.func", "inference"])
def test_filters_that_are_kept_serve_any_later_pass(transform: Callable[..., Any]) -> None:
    module = FCA(16)
    x = torch.randn(1, 16, 3, 11)
    transform(lambda x: module(x).sum())(x)
    x.requires_grad_()
    module(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("size", [(14, 7), (16, 9), (3, 5)])
def test_an_exported_network_has_the_filters_as_constants(size: tuple[int, int], tmp_path: Path) -> None:
    """With torch's older exporter; the newer one is tried with a whole network."""
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    module, x = FCA(16).eval(), torch.randn(2, 16, *size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes become constants, and this exporter will go
        torch.onnx.export(module, (x,), str(tmp_path / "fca.onnx"), dynamo=False)
        session = onnxruntime.InferenceSession(str(tmp_path / "fca.onnx"), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(found, module(x).numpy(), atol=1e-6)


def test_asr_is_fused_exactly() -> None:
    torch.manual_seed(0)
    model = build("resnet11").eval()
    asr.reparameterize(model, attention="fca", start="alive")
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(asr.fuse(model)(x), model(x))


def test_parameter_count() -> None:
    assert sum(p.numel() for p in FCA(64).parameters()) == 2 * 64 * 4
