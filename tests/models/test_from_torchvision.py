from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision

from stripe.errors import StripeError
from stripe.models import backbone_of, build


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


DENSE = ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("frozen", [False, True])
def test_detectors_and_segmenters(name: str, frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded, the backbone's weights neither; the number of outputs counts the background."""
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: pytest.fail("download"))
    model = build(f"torchvision:{name}", num_classes=4, args={"frozen_norm": frozen}).eval()
    kinds = {type(module).__name__ for module in backbone_of(model).modules()}
    assert ("FrozenBatchNorm2d" in kinds, "BatchNorm2d" in kinds) == (frozen, not frozen)
    with torch.no_grad():
        output = model(torch.rand(1, 3, 64, 64))
    if isinstance(output, dict):
        assert output["out"].shape == (1, 4, 64, 64)
    else:
        assert set(output[0]) == {"boxes", "labels", "scores"}
        assert max(output[0]["labels"].tolist(), default=0) < 4


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "ssdlite320_mobilenet_v3_large"])
@pytest.mark.parametrize("num_classes", [None, 4])
def test_published_weights_of_detectors(name: str, num_classes: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        state = torchvision.models.get_model(name, weights=None, weights_backbone=None).state_dict()
        return {key: torch.full_like(value, 0.125) if value.ndim else value for key, value in state.items()}

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", download)
    model = build(f"torchvision:{name}", num_classes=num_classes, pretrained=True).eval()
    fresh = [key for key, value in model.named_parameters() if not (value == 0.125).all()]
    last = "head.classification_head.module_list" if "ssd" in name else "classifier"
    assert bool(fresh) == (num_classes == 4)
    assert all(key.startswith(last) for key in fresh)
    with torch.no_grad():
        output = model(torch.rand(1, 3, 64, 64))
    assert isinstance(output, list) or output["out"].shape[1] == (num_classes or 21)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("fasterrcnn_mobilenet_v3_large_fpn", {"args": {"no_such": 1}}, "does not take the argument 'no_such'"),
        ("lraspp_mobilenet_v3_large", {"args": {"no_such": 1}}, "does not take the argument 'no_such'"),
        ("fcn_resnet50", {"args": {"weights_backbone": "DEFAULT"}}, "'weights_backbone' is set through"),
        ("fcn_resnet50", {"args": {"frozen_norm": "yes"}}, "frozen_norm= must be true or false"),
        ("lraspp_mobilenet_v3_large", {"attention": "se"}, "does not go into .*maskrcnn:timm:resnet50"),
        ("maskrcnn_resnet51_fpn", {}, "nor a detector or segmenter of that name; did you mean maskrcnn_resnet50_fpn"),
    ],
)
def test_impossible_detectors(name: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(StripeError, match=message):
        build(f"torchvision:{name}", **more)
