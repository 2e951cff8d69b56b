"""``onnx:FILE`` as a name of a model."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stripe.errors import StripeError
from stripe.models import build, file_hash, from_meta, native_image_size
from stripe.models.spec import ModelSpec
from stripe.variant import Variant
from tests.onnx.files import gated_nodes, node, save


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(tmp_path / "a+b.onnx", gated_nodes())


def test_a_file_as_a_model(path: Path) -> None:
    model = build(f"onnx:{path}")
    assert not model.training
    assert model(torch.zeros(5, 3, 9, 7)).shape == (5, 4)


@pytest.mark.parametrize(
    ("images", "size"), [(("n", 3, 20, 24), (20, 24)), ((1, 3, 16, 16), 16), (("n", 3, 20, "w"), None)]
)
def test_the_size_of_the_images(tmp_path: Path, images: Any, size: Any) -> None:
    path = save(tmp_path / "a.onnx", gated_nodes(), images=images)
    assert native_image_size(f"onnx:{path}") == size


def test_a_size_that_the_file_forbids(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", gated_nodes(), images=("n", 3, 20, "w"))
    build(f"onnx:{path}", image_size=(20, 31))
    with pytest.raises(StripeError, match=r"takes images of 20 × any pixels \(height × width\), not of 24x20"):
        build(f"onnx:{path}", image_size=(24, 20))


def test_a_size_that_the_network_cannot_take(tmp_path: Path) -> None:
    nodes = [node("Squeeze", "x axes", "y")]
    path = save(tmp_path / "a.onnx", nodes, constants={"axes": [2]}, outputs={"y": ("n", 3, "w")})
    build(f"onnx:{path}", image_size=(1, 8))
    with pytest.raises(StripeError, match="does not run with images of 224 × 224 pixels; say theirs with image_size"):
        build(f"onnx:{path}")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_classes": 4}, "has its own number of outputs"),
        ({"pretrained": True}, "has its own weights"),
        ({"args": {"width": 2}}, "takes no further arguments, but got width"),
        ({"attention": "se"}, "does not go into"),
    ],
)
def test_what_cannot_be_asked_of_a_file(path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(StripeError, match=message):
        build(f"onnx:{path}", **more)


def test_no_file() -> None:
    with pytest.raises(StripeError, match="write torchvision:NAME, timm:NAME, onnx:FILE"):
        build("onnx:")
    with pytest.raises(StripeError, match=r"nowhere.onnx: there is no such file"):
        build("onnx:nowhere.onnx")


def test_a_description_knows_its_file(path: Path) -> None:
    spec = ModelSpec(model=f"onnx:{path}", model_sha256=file_hash(f"onnx:{path}"))
    meta = spec.to_meta()
    assert ModelSpec.from_meta(meta) == spec
    from_meta(meta)
    save(path, gated_nodes()[:-1], outputs={"h": ("n", 4, 1, 1)})
    with pytest.raises(StripeError, match="is not the file that the checkpoint was made of"):
        from_meta(meta)


def test_variants(path: Path) -> None:
    assert Variant.parse(f"onnx:{path}") == Variant(f"onnx:{path}")
    assert Variant.parse(f"onnx:{path}+fused") == Variant(f"onnx:{path}", fused=True)
    assert Variant.parse(f"onnx:{path}").build()(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
