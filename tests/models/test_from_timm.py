from typing import Any

import pytest
import timm
import torch

from stripe.errors import StripeError
from stripe.models import build


@pytest.mark.parametrize("spec", ["timm:test_resnet", "timm:test_resnet.r160_in1k"])
@pytest.mark.parametrize(("num_classes", "outputs"), [(None, 1000), (3, 3)])
def test_build(spec: str, num_classes: int | None, outputs: int) -> None:
    model = build(spec, num_classes=num_classes).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, outputs)


def test_arguments_reach_the_constructor() -> None:
    model = build("timm:test_vit", num_classes=3, args={"img_size": 64}).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, 3)


def test_a_failed_download_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("hub is down\nand a long explanation")

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", fail)
    with pytest.raises(StripeError, match=r"download of the published weights failed \(ConnectionError: hub is down\)"):
        build("timm:test_resnet", pretrained=True)


def test_a_model_without_published_weights() -> None:
    with pytest.raises(StripeError, match="timm publishes no weights of seresnet18"):
        build("timm:seresnet18", pretrained=True)
