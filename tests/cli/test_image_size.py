"""``--image-size``, of square and oblong images, from training to everything that reads the checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stripe import bench, models
from stripe.capture import open_capture
from stripe.cli import main
from stripe.errors import StripeError
from stripe.models import checkpoint as checkpoints

DATA = "shapes:train=20,test=10"


def stripe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fine(*arguments: object) -> Result:
    result = stripe(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    size = ["--image-size", "16x32"]
    fine("train", "--model", "resnet11", "--attention", "se", "--data", DATA, *size, "--epochs", 1, "--batch-size", 10,
         "--capture", 4, "--out", out, "--device", "cpu")  # fmt: skip
    return out


def test_what_is_written(run: Path) -> None:
    meta = checkpoints.read(run / "best.safetensors").meta
    assert (meta["image_size"], meta["data_image_size"]) == ("16x32", "16x32")
    assert "at 16x32 px" in meta["scale"]
    tree = open_capture(run / "capture.h5")
    assert tree["thumbnail"].shape == (4, 16, 32, 3)


def test_the_run_goes_on(run: Path) -> None:
    again = fine("train", "--model", "resnet11", "--attention", "se", "--data", DATA, "--image-size", "16x32",
                 "--epochs", 1, "--batch-size", 10, "--capture", 4, "--out", run, "--device", "cpu")  # fmt: skip
    assert "16x32" in again.output


def test_the_checkpoint_says_the_size(run: Path, tmp_path: Path) -> None:
    best = run / "best.safetensors"
    fine("evaluate", "--ckpt", best, "--device", "cpu")
    fine("capture", "--ckpt", best, "--images", 4, "-o", tmp_path / "capture.h5", "--device", "cpu")
    assert open_capture(tmp_path / "capture.h5")["thumbnail"].shape == (4, 16, 32, 3)
    fine("gradcam", "--ckpt", best, "--images", 4, "-o", tmp_path / "cam.h5", "--device", "cpu")
    layer = open_capture(tmp_path / "cam.h5")["gradcam"].children["layer3"]
    assert layer["mean"].shape == (16, 32)
    fine("report", run, "-o", tmp_path / "report.html")
    assert "16x32 px" in (tmp_path / "report.html").read_text()


def test_another_size_than_the_checkpoint_says(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "capture.h5"
    fine("capture", "--ckpt", run / "best.safetensors", "--image-size", "32x16", "--images", 2, "-o", path, "--device",
         "cpu")  # fmt: skip
    assert open_capture(path)["thumbnail"].shape == (2, 32, 16, 3)


def test_folding(run: Path, tmp_path: Path) -> None:
    folded = tmp_path / "folded.safetensors"
    fine("fold", "--ckpt", run / "best.safetensors", "--images", 8, "--batch-size", 4, "-o", folded, "--device", "cpu")
    assert checkpoints.read(folded).meta["image_size"] == "16x32"
    table = bench.measure([str(folded)], batch_size=1, repeats=1, device="cpu")
    assert table.attrs["image_size"] == "16x32"


def test_inspection_and_fusing(run: Path, tmp_path: Path) -> None:
    rows = json.loads(
        fine("inspect", "--model", "resnet11", "--attention", "se", "--image-size", "16x32", "--format", "json").output
    )
    assert rows[0]["shape"] == [64, 16, 32]
    fine("train", "--model", "resnet11", "--mode", "asr", "--attention", "se", "--data", DATA, "--image-size", "16x32",
         "--epochs", 1, "--batch-size", 10, "--out", tmp_path / "asr", "--device", "cpu")  # fmt: skip
    fine("fuse", "--ckpt", tmp_path / "asr" / "best.safetensors", "-o", tmp_path / "fused.safetensors", "--images", 2)


def test_bench(tmp_path: Path) -> None:
    output = fine("bench", "--models", "resnet11", "--image-size", "16x32", "--batch-size", 1, "--repeats", 1,
                  "--device", "cpu", "--format", "json").output  # fmt: skip
    (row,) = json.loads(output[output.index("[") :])
    square = bench.measure(["resnet11"], image_size=16, batch_size=1, repeats=1, device="cpu")
    assert row["image_size"] == "16x32"
    assert row["flops"] == pytest.approx(2 * square.flops[0], rel=0.01)


@pytest.mark.parametrize("size", ["7", "0", "8x7", "48x", "x", "4.5", "8x8x8", "-3"])
@pytest.mark.parametrize("command", [["bench", "--models", "resnet11"], ["inspect", "--model", "resnet11"], ["train"]])
def test_what_is_no_size(command: list[str], size: str) -> None:
    result = stripe(*command, "--image-size", size)
    assert result.exit_code == 2
    assert "Invalid value for '--image-size'" in result.output


@pytest.mark.parametrize("size", ["x", "0x8", "99999x8", [16, 32], 1.5, True, 0])
def test_a_damaged_description(run: Path, tmp_path: Path, size: object) -> None:
    best, path = run / "best.safetensors", tmp_path / "damaged.safetensors"
    with safe_open(best, "pt") as file:
        header = dict(file.metadata())
    header["stripe"] = json.dumps({**json.loads(header["stripe"]), "image_size": size})
    save_file(load_file(best), path, header)
    with pytest.raises(StripeError, match="damaged: image_size is"):
        checkpoints.read(path)


def test_networks_made_for_oblong_images() -> None:
    assert models.native_image_size("timm:vit_large_patch16_sapiens2.fb") == (1024, 768)
    assert models.native_image_size("timm:resnet18") == 224


def test_grey_networks_are_measured_on_grey_images(tmp_path: Path) -> None:
    path = tmp_path / "grey.safetensors"
    model = models.build("timm:resnet18", num_classes=10, args={"in_chans": 1})
    checkpoints.save(path, model, {"model": "timm:resnet18", "num_classes": 10, "args": {"in_chans": 1}})
    table = bench.measure([str(path), "timm:resnet18"], image_size=32, batch_size=1, repeats=1, device="cpu")
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    # The first convolution of stride 2 takes two channels fewer at 16×16 places.
    assert table.flops[1] - table.flops[0] > 2 * 2 * 49 * first.out_channels * 16 * 16 - 1
