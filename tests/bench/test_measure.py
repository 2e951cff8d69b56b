import pytest
import torch

from stripe import bench
from stripe.bench import describe_machine, measure
from stripe.errors import StripeError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 1e-4)


def flops_of_resnet11(side: int, classes: int) -> int:
    """2 · multiplications of the stem, three bottlenecks with projection shortcuts, and the classifier."""
    total = 3 * 16 * 9 * side**2
    channels = 16
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        before, side = side**2, side // stride
        after = side**2
        total += channels * width * before + width * width * 9 * after + width * 4 * width * after
        total += channels * 4 * width * after
        channels = 4 * width
    return 2 * (total + 256 * classes)


def test_a_table() -> None:
    table = measure(["resnet11", "resnet11+asr(se)", "resnet11+asr(se)+fused"], image_size=8, batch_size=2, repeats=3)
    assert table["model"].tolist() == ["resnet11", "resnet11+asr(se)", "resnet11+asr(se)+fused"]
    assert table["asr"].tolist() == ["none", "se", "se"]
    assert table["fused"].tolist() == [False, False, True]
    plain, unfused, fused = table["parameters"]
    assert plain == fused < unfused
    assert table["flops"][0] == table["flops"][2] == flops_of_resnet11(8, 10)
    assert (table["lower_quartile"] <= table["images_per_second"]).all()
    assert (table["images_per_second"] <= table["upper_quartile"]).all()
    assert (table["lower_quartile"] > 0).all()
    assert table["relative_speed"][0] == 1
    about = table.attrs
    assert (about["image_size"], about["batch_size"], about["repeats"]) == (8, 2, 3)
    assert f"{torch.get_num_threads()} threads" in about["processor"]


def test_rates_are_judged_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine halves its speed after the first round; the second network takes twice as long in every round.
    seconds = torch.tensor([[1.0, 2.0], [2.0, 4.0], [2.0, 4.0]]).double().numpy()
    monkeypatch.setattr(bench, "_take_turns", lambda passes, repeats: seconds)
    table = measure(["resnet11", "resnet11+se"], image_size=8, batch_size=8, num_classes=3)
    assert table["images_per_second"].tolist() == [4, 2]
    assert table["lower_quartile"].tolist() == [4, 2]
    assert table["upper_quartile"].tolist() == [6, 3]
    assert table["relative_speed"].tolist() == [1, 0.5]
    assert table.attrs["num_classes"] == 3


def test_the_size_that_networks_are_made_for() -> None:
    assert measure(["resnet11"], batch_size=1, repeats=1).attrs["image_size"] == 32
    with pytest.raises(StripeError, match=r"resnet11 32, torchvision:resnet18 224\); give image_size="):
        measure(["resnet11", "torchvision:resnet18"])


def test_detectors_and_segmenters_at_the_size_of_the_others() -> None:
    """What a detector computes hangs on what it finds, which is the same for equal weights."""
    names = ["resnet11", "fcn:resnet11", "retinanet:resnet11", "retinanet:resnet11+asr(se)+fused"]
    table = measure(names, batch_size=1, repeats=1, num_classes=3)
    assert table.attrs["image_size"] == 32
    assert table["detections"].isna().tolist() == [True, True, False, False]
    assert table["flops"][2] == table["flops"][3] > table["flops"][0]
    assert "detections" not in measure(["resnet11"], batch_size=1, repeats=1)
    with pytest.raises(StripeError, match="nothing says what size the images of fcn:resnet11 have; give image_size="):
        measure(["fcn:resnet11"])


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, "no network is named"),
        (["resnet11", "resnet11 + se", "resnet11+se"], {}, r"resnet11\+se is named twice"),
        (["resnet11"], {"batch_size": 0}, "must be at least 1"),
        (["resnet12"], {}, "no CIFAR ResNet of depth 12"),
        (["resnet11"], {"device": "abacus"}, "no device 'abacus'"),
    ],
)
def test_mistakes(names: list[str], options: dict[str, object], message: str) -> None:
    with pytest.raises(StripeError, match=message):
        measure(names, **options)


def test_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(bench, "_take_turns", full)
    with pytest.raises(StripeError, match="2 images a pass do not fit into the memory of cpu; take fewer"):
        measure(["resnet11"], image_size=8, batch_size=2, device="cpu")


def test_one_thread_is_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert "1 thread of" in describe_machine(torch.device("cpu"))["processor"]
