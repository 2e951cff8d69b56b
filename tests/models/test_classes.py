"""Which outputs of a network the classes of a data set are."""

import pytest

from stripe.models.classes import positions_of, published_classes


@pytest.mark.parametrize(
    ("classes", "names", "expected"),
    [
        (["a", "b"], [["a"], ["b"]], [0, 1]),
        (["b", "a"], [["a"], ["b"]], [1, 0]),
        (["Great-White_Shark", "tench"], [["tench", "n01"], ["fish"], ["great white  shark"]], [2, 0]),
        (["n01"], [["tench", "n01"], ["fish"]], [0]),
        (["a", "c"], [["a"], ["b"]], None),
        (["a"], [["a"], ["a"]], None),  # which of them?
        (["a", "a"], [["a"], ["a"]], [0, 1]),
        (["a", "x"], [["a", "x"], ["b"]], None),  # both are the first
        (["0", "1", "10", "2", *"3456789"], [[name] for name in "abcdefghijk"], [0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9]),
        (["1", "2"], [["a"], ["b"]], None),
        ([], [["a"]], None),
    ],
)
def test_positions(classes: list[str], names: list[list[str]], expected: list[int] | None) -> None:
    found = positions_of(classes, names)
    assert (None if found is None else found.tolist()) == expected


@pytest.mark.parametrize("spec", ["torchvision:resnet50", "timm:seresnet50"])
def test_names_of_imagenet(spec: str) -> None:
    names = published_classes(spec)
    assert names is not None
    assert len(names) == 1000
    assert names[0][0] == "tench"
    found = positions_of(["n02123045", "goldfish", "n01440764"], names)
    assert found is not None
    assert found.tolist() == [281, 1, 0]


def test_nobody_says_them() -> None:
    assert published_classes("python:mine:net") is None
    assert published_classes("timm:vit_base_patch16_clip_224.openai") is None
