"""Commands on detectors and segmenters, on photos of different sizes."""

import inspect
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchmetrics.detection  # noqa: F401  (which takes seconds, outside of the first test)
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from stripe import asr, checkpoint
from stripe.capture import open_capture
from stripe.cli import main
from stripe.cli.fold import _meta
from stripe.cli.resolve import resolve
from stripe.data import load
from stripe.models import build

SIZES = [(40, 60), (64, 48), (50, 50), (30, 80)]


def run(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (height, width) in enumerate(SIZES):
        Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Twenty photos in COCO's format, portraits and landscapes: a bright square each, and one without anything."""
    folder = tmp_path / "coco"
    draw = np.random.default_rng(0)
    for half in ("train2017", "val2017"):
        (folder / half).mkdir(parents=True)
        images, annotations = [], []
        for number in range(1, 21):
            width, height = (int(side) for side in draw.integers(24, 48, 2))
            pixels = draw.integers(0, 80, (height, width, 3), dtype=np.uint8)
            side = 16
            left, top = int(draw.integers(0, width - side)), int(draw.integers(0, height - side))
            if number != 5:
                pixels[top : top + side, left : left + side] = 230
                category = 3 + 4 * (number % 2)
                box = {"bbox": [left, top, side, side], "area": side * side, "iscrowd": 0, "category_id": category}
                annotations.append({"id": number, "image_id": number, **box})
            name = f"{number:012d}.png"
            Image.fromarray(pixels).save(folder / half / name)
            images.append({"id": number, "file_name": name, "width": width, "height": height})
        categories = [{"id": 3, "name": "odd"}, {"id": 7, "name": "even"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"instances_{half}.json").write_text(json.dumps(content))
    return folder


def test_from_photos_to_a_report(coco: Path, tmp_path: Path) -> None:
    """Photos of different sizes are trained on, captured, scored and shown, each at its own size."""
    folder = tmp_path / "run"
    small = ("--model-arg", "width=16", "--model-arg", "box_width=16", "--attention", "se", "--workers", 0)
    run("train", "--model", "fasterrcnn:resnet11", *small, "--data", f"coco:{coco}", "--epochs", 1, "--out", folder)
    capture = tmp_path / "capture.h5"
    best, options = folder / "best.safetensors", ("--workers", 0)
    run("capture", "--ckpt", best, "--images", 12, "--controls", "none", *options, "-o", capture)
    assert open_capture(capture)["image"].size == 12
    found = json.loads(run("evaluate", "--ckpt", best, *options, "--format", "json"))
    assert (found["images"], found["data"]) == (20, f"coco:{coco}")
    assert 0 <= found["ap"] <= found["ap50"] <= 100
    assert found["apl"] is None  # there are no large objects
    run("report", folder, "-o", tmp_path / "report.html")
    assert "Test image 1: truth, and what is found after epoch 1" in (tmp_path / "report.html").read_text()
    run("plot", best, "--kind", "predictions", "--images", 1, "-o", tmp_path / "predictions.png")


def coco_of(folder: Path, categories: list[dict[str, object]]) -> Path:
    """Two photos with one object each, of the last of the categories."""
    folder.mkdir()
    for number in (1, 2):
        Image.fromarray(np.full((48, 64, 3), 60 * number, np.uint8)).save(folder / f"{number}.png")
    box = {"bbox": [8, 8, 30, 30], "area": 900, "iscrowd": 0, "category_id": categories[-1]["id"]}
    content = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 48} for number in (1, 2)],
        "annotations": [{"id": number, "image_id": number, **box} for number in (1, 2)],
        "categories": categories,
    }
    (folder / "labels.json").write_text(json.dumps(content))
    return folder


def test_published_numbers_have_gaps(tmp_path: Path) -> None:
    """Of torchvision's 91 outputs 1 is a person and 90 a toothbrush, which is the third class here."""
    name = "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"
    torch.manual_seed(0)
    model = build(name)
    scores = model.roi_heads.box_predictor.cls_score
    with torch.no_grad():  # everything is a toothbrush or nothing, with equal odds
        scores.weight.zero_()
        scores.bias.zero_()[[0, 90]] = 20
    weights = tmp_path / "published.pth"
    torch.save(model.state_dict(), weights)
    categories = [{"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}, {"id": 90, "name": "toothbrush"}]
    data = coco_of(tmp_path / "coco", categories)
    options = ("--ckpt", weights, "--model", name, "--workers", 0, "--data")
    found = json.loads(run("evaluate", *options, f"coco:{data}", "--format", "json"))
    assert found["classifier"] == pytest.approx(np.log(2), abs=1e-4)
    unknown = coco_of(tmp_path / "other", [{"id": 1, "name": "unicorn"}])
    output = run("evaluate", *options, f"coco:{unknown}", code=1)
    assert "are 1 (unicorn), and the network's are 90 (person, bicycle, car, motorcycle" in output


def test_inspect_a_detector_without_attention() -> None:
    output = run("inspect", "--model", "torchvision:maskrcnn_resnet50_fpn", code=1)
    assert "has no attention site" in output
    assert "ASR would go into 16 layers, from backbone.body.layer1.0.bn3 to backbone.body.layer4.2.bn3." in output


def test_inspect_a_detector_with_attention() -> None:
    output = run("inspect", "--model", "torchvision:fasterrcnn_mobilenet_v3_large_fpn")
    assert "backbone.body.15.block.2" in output
    assert "8 attention sites: 8 channel" in output


def test_capture_at_their_own_sizes(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "capture.h5"
    options = ("--workers", 0, "--batch-size", 3, "--controls", "none", "-o", path, "--data", f"folder:{photos}")
    output = run("capture", "--model", "fasterrcnn:resnet11", "--attention", "se", *options)
    assert "normalised" not in output  # which a detector does itself
    tree = open_capture(path)
    assert tree["sites/backbone.body.layer3.0.attention_module/attention"].shape == (1, 4, 256)
    pictures = tree["thumbnail"].values
    assert (pictures[3].any((1, 2)).sum(), pictures[3].any((0, 2)).sum()) == (24, 64)  # 30×80 at 64 pixels


def test_spatial_sites_need_one_size(photos: Path, tmp_path: Path) -> None:
    options = ("--workers", 0, "--controls", "none", "--data", f"folder:{photos}", "-o", tmp_path / "capture.h5")
    output = run(
        "capture", "--model", "fasterrcnn:resnet11", "--attention", "cbam", *options, "--batch-size", 2, code=1
    )
    assert "It has a value for every place of the map: give images of one size (--image-size), or" in output
    assert "have no height and width" in output
    assert "Traceback" not in output


def test_a_segmenter_takes_images_of_one_size(photos: Path, tmp_path: Path) -> None:
    options = ("--workers", 0, "--controls", "none", "--data", f"folder:{photos}", "-o", tmp_path / "capture.h5")
    run("capture", "--model", "fcn:resnet11", "--attention", "se", *options, "--image-size", 32)
    assert open_capture(tmp_path / "capture.h5")["image"].size == 4


def test_a_segmenter_takes_photos_at_their_own_sizes(photos: Path, tmp_path: Path) -> None:
    options = ("--workers", 0, "--controls", "none", "--data", f"folder:{photos}", "-o", tmp_path / "capture.h5")
    run("capture", "--model", "fcn:resnet11", "--attention", "se", *options)
    assert open_capture(tmp_path / "capture.h5").attrs["data_image_size"] == "own"


OWN = [
    ("fasterrcnn:resnet11", "folder:photos", None),
    ("fcn:resnet11", "folder:photos", None),
    ("resnet11", "folder:photos", 32),
    ("fcn:resnet11", "folder:seen", 32),  # what it was trained on, under another name
    ("fcn:resnet11", None, 32),
    ("fcn:resnet11", "scenes:train=4,test=2", 32),  # which has no sizes of its own
]


@pytest.mark.parametrize(("model", "data", "size"), OWN)
def test_sizes_of_images_of_a_checkpoint(
    model: str, data: str | None, size: int | None, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other images than those of the training keep their sizes, where they have some and the network takes any."""
    shutil.copytree(photos, tmp_path / "seen")
    (photos / "0.png").rename(photos / "first.png")
    monkeypatch.chdir(tmp_path)
    seen = load("folder:seen", image_size=32)
    described = {"data": seen.spec, "data_files": seen.attrs["files"], "image_size": 32}
    meta = {"model": model, "num_classes": 3, **described}
    checkpoint.save(Path("trained.safetensors"), build(model, num_classes=3), meta)
    names = dict.fromkeys(inspect.signature(resolve).parameters)
    given = {"model_args": (), "data_spec": data, "pretrained": False, "download": False, "seed": 0}
    read = checkpoint.translate(checkpoint.read(Path("trained.safetensors")))
    assert resolve(**{**names, **given, "checkpoint": read}).data.image_size == size


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = build("maskrcnn:resnet11", num_classes=3)
    asr.reparameterize(model, start="alive")
    meta = {"model": "maskrcnn:resnet11", "num_classes": 3, "asr": {"attention": "se"}}
    checkpoint.save(tmp_path / "trained.safetensors", model, meta)
    return tmp_path / "trained.safetensors"


def test_fuse(trained: Path, photos: Path, tmp_path: Path) -> None:
    fused = tmp_path / "fused.safetensors"
    output = run("fuse", "--ckpt", trained, "-o", fused, "--data", f"folder:{photos}", "--format", "csv")
    assert "float32,0.0,0.0" in output
    build("maskrcnn:resnet11", num_classes=3).load_state_dict(load_file(fused))


def test_an_export_of_a_detector(trained: Path, tmp_path: Path) -> None:
    output = run("fuse", "--ckpt", trained, "-o", tmp_path / "fused.safetensors", "--export", "onnx", code=1)
    assert "maskrcnn:resnet11 is a detector" in output
    assert not (tmp_path / "fused.safetensors").exists()


@pytest.mark.parametrize("model", ["maskrcnn:resnet11", "torchvision:fcn_resnet50"])
def test_gradcam_is_for_classifiers(model: str, photos: Path) -> None:
    output = run("gradcam", "--model", model, "--data", f"folder:{photos}", code=1)
    assert f"Grad-CAM shows what speaks for a class of a classifier, and {model} is made for" in output


def test_fold(tmp_path: Path) -> None:
    import stripe

    folded = tmp_path / "folded.safetensors"
    options = ("--data", "scenes:train=10,test=2", "--image-size", 64, "--images", 2, "--batch-size", 2, "--workers", 0)
    output = run("fold", "--model", "fcn:resnet11", "--attention", "se", *options, "-o", folded)
    assert "The network is judged by mIoU of the annotated images." in output
    assert "miou change" in output
    model = stripe.load(folded)
    assert model.get_submodule("classifier.4").out_channels == 11  # ten shapes, and the background


def test_a_folded_file_says_the_outputs_of_its_network() -> None:
    """Which a published detector has more of than the data has classes."""
    resolved = SimpleNamespace(
        model=build("fasterrcnn:resnet11", num_classes=91),
        data=load("scenes:train=2,test=1"),
        attrs={"model": "fasterrcnn:resnet11"},
    )
    names = {"model_spec": "fasterrcnn:resnet11", "num_classes": None, "pretrained": False}
    assert _meta(None, resolved, names, ())["num_classes"] == 91


def test_bench() -> None:
    output = run("bench", "--models", "fasterrcnn:resnet11", "--image-size", 32, "--batch-size", 1, "--repeats", 1)
    assert "fasterrcnn:resnet11" in output
