"""Every kind and rank of gate that the README lists, from discovery to pictures, Grad-CAM and folding.

Each step gives its result, or a sentence that says why not.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stripe import analysis, plots, report
from stripe.capture import capture, open_capture, site_names
from stripe.errors import StripeError
from stripe.fold import fold
from stripe.gradcam import gradcam
from tests.capture.networks import Case, case_named

NAMES = [
    "star",  # (N, C, H, W)
    "where",  # not by multiplication
    "repeat",  # a gate of the map's size
    "tokens",  # (N, T, C)
    "tokens_spatial",
    "flattened_positions",  # (N, C, HW)
    "channels_last_code",  # (N, H, W, C), oblong
    "channels_last_code_spatial",
    "sequence_first",  # (T, N, C)
    "groups",  # (N, G, C/G, H, W)
    "groups_in_the_batch",  # (N·G, C/G, H, W)
    "frames_in_the_batch",  # (N·T, C, H, W)
    "windows_in_the_batch",
    "video",  # (N, C, T, H, W)
    "video_spatial",
    "video_temporal",
    "signal",  # (N, C, L)
    "signal_spatial",
    "mean_and_maximum",
    "coordinate",
    "selective_kernel",
    "split_attention",
    "one_gate_an_image",
    "mixture_of_experts",
    "one_gate_an_image_of_tokens",
    "cbam",
    "layer_norm",  # none that is attention
]


class Classifier(nn.Module):
    """A network's map as six scores."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if y.shape[0] != len(x) and y.shape[1] == len(x):  # (T, N, C)
            y = y.transpose(0, 1)
        return y.reshape(len(x), 6, -1).mean(2)


def loader(case: Case) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, *case.shape[1:], generator=generator)
    return DataLoader(TensorDataset(images, torch.arange(6)), 4)


def result_or_sentence(call: Callable[[], Any]) -> Any:
    """What a call gives, or the text of its `StripeError`; any other exception fails the test."""
    try:
        return call()
    except StripeError as error:
        return str(error)


@pytest.mark.parametrize("name", NAMES)
def test_from_discovery_to_the_report(name: str, tmp_path: Path) -> None:
    case = case_named(name)
    model = Classifier(case.model()).eval()
    path = tmp_path / "capture.h5"
    if not case.attention:
        with pytest.raises(StripeError, match=r"no attention site.*normalisation"):
            capture(model, loader(case), path)
        assert not path.exists()
        return
    capture(model, loader(case), path)
    tree = open_capture(path)
    assert [tree["sites"][name].attrs["kind"] for name in site_names(tree)] == case.attention.split()
    for name in site_names(tree):
        values = tree["sites"][name]["attention"]
        assert values.dims[:2] == ("epoch", "image")
        assert values.sizes["image"] == 6
        assert bool(values.notnull().all())
    verdicts = analysis.verdicts(analysis.metrics(tree))
    assert len(verdicts) == len(site_names(tree))
    for plot in (plots.stripe, plots.std, plots.index, plots.spatial):
        drawn = result_or_sentence(lambda plot=plot: plot(tree))
        if isinstance(drawn, Figure):
            drawn.canvas.draw()
            plt.close(drawn)
        else:
            assert "site" in drawn or "map" in drawn
    report.save(tmp_path / "page.html", path)
    assert "<html" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_grad_cam_and_folding(name: str) -> None:
    case = case_named(name)
    model = Classifier(case.model()).eval()
    if not case.attention:
        with pytest.raises(StripeError, match="no attention"):
            fold(model, loader(case))
        return
    averages = result_or_sentence(lambda: gradcam(model, loader(case)))
    if isinstance(averages, str):
        assert "layer" in averages or "map" in averages
    else:
        assert averages.attrs["count"] == 6
    result = result_or_sentence(lambda: fold(model, loader(case)))
    if isinstance(result, str):
        assert "fold" in result
    else:
        for _, row in result.sites.iterrows():
            assert row["folded"] in ("backwards", "forwards") or row["reason"]
