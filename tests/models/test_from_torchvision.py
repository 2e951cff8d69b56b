from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision

from stripe.errors import StripeError
from stripe.models import build


@pytest.mark.parametrize(("num_classes", "outputs"), [(None, 1000), (3, 3)])
def test_build(num_classes: int | None, outputs: int) -> None:
    model = build("torchvision:shufflenet_v2_x0_5", num_classes=num_classes).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, outputs)


def test_arguments_reach_the_constructor() -> None:
    model = build("torchvision:mobilenet_v3_small", num_classes=2, args={"dropout": 0.7})
    assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == [0.7]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that stand for a download: all parameters 0.125."""

    def download(url: str, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        name = "squeezenet1_1" if "squeezenet" in url else "shufflenet_v2_x0_5"
        state: dict[str, torch.Tensor] = torchvision.models.get_model(name).state_dict()
        return {key: torch.full_like(value, 0.125) if value.ndim else value for key, value in state.items()}

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", download)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("name", "head"), [("shufflenet_v2_x0_5", "fc"), ("squeezenet1_1", "classifier.1")])
@pytest.mark.parametrize("num_classes", [None, 1000, 5])
def test_only_a_classifier_of_another_size_is_replaced(name: str, head: str, num_classes: int | None) -> None:
    model = build(f"torchvision:{name}", num_classes=num_classes, pretrained=True).eval()
    fresh = [key for key, value in model.named_parameters() if not (value == 0.125).all()]
    assert fresh == ([f"{head}.weight", f"{head}.bias"] if num_classes == 5 else [])
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, num_classes or 1000)


def test_a_failed_download_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    with pytest.raises(StripeError, match=r"download of the published weights failed.*no route to host"):
        build("torchvision:shufflenet_v2_x0_5", pretrained=True)
