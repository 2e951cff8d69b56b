import json
from pathlib import Path

import pytest
import torch

from stripe import asr, checkpoint
from stripe import data as datasets
from stripe.asr.noise import add_noise
from stripe.models import build, from_meta

META = {"model": "resnet11", "num_classes": 4, "attention": "se", "image_size": 16, "epoch": 7, "classes": list("abcd")}


def trained(folder: Path, spec: str = "resnet11", **settings) -> tuple[Path, torch.nn.Module]:
    """A checkpoint with ASR, and its network."""
    torch.manual_seed(0)
    model = build(spec, num_classes=4, attention="se")
    asr.reparameterize(model, psi="N1", **settings)
    path = folder / "epoch-0007.safetensors"
    checkpoint.save(path, model, {**META, "model": spec, "asr": settings})
    return path, model.eval()


def test_the_fused_file_is_of_the_plain_network(run, tmp_path: Path) -> None:
    path, model = trained(tmp_path, attention="ie")
    result = run("fuse", "--ckpt", str(path), "-o", "fused.safetensors", "--format", "json")
    differences = {row["precision"]: row for row in json.loads(result.stdout)}
    assert differences["float32"] == {"precision": "float32", "largest_difference": 0, "relative": 0}
    assert 0 < differences["float64"]["relative"] < 1e-6
    assert "1,344 fewer than in training" in result.stderr  # w, b and ψ of 64 + 128 + 256 channels

    fused = checkpoint.read("fused.safetensors")
    assert fused.epoch == 7
    assert fused.meta["asr_before"] == {"attention": "ie"}
    assert fused.meta["fused_from"] == "epoch-0007.safetensors"
    assert fused.meta["classes"] == list("abcd")
    plain = from_meta(fused.meta).eval()
    checkpoint.load_into(plain, fused)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(plain(images), model(images))


def test_branches_become_one_convolution(run, tmp_path: Path) -> None:
    path, model = trained(tmp_path, "resnet8-acnet")
    run("fuse", "--ckpt", str(path), "-o", "fused.safetensors")
    fused = checkpoint.read("fused.safetensors")
    assert not any("square" in key for key in fused.state_dict)
    plain = from_meta(fused.meta).eval()
    checkpoint.load_into(plain, fused)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), model(images), rtol=1e-4, atol=1e-5)


def test_over_the_tolerance_nothing_is_written(run, tmp_path: Path) -> None:
    path, _ = trained(tmp_path)
    result = run("fuse", "--ckpt", str(path), "-o", "fused.safetensors", "--tolerance", "1e-12", code=1)
    assert "more than 1.0e-12; nothing is written" in result.stderr
    assert not Path("fused.safetensors").exists()


@pytest.mark.parametrize(
    "named", [["--model", "resnet11"], ["--model", "resnet11", "--attention", "se", "--num-classes", "4"]]
)
def test_the_model_named(run, tmp_path: Path, named: list[str]) -> None:
    path, _ = trained(tmp_path)
    run("fuse", "--ckpt", str(path), "-o", "fused.safetensors", *named)
    assert checkpoint.read("fused.safetensors").meta["model"] == "resnet11"


def test_a_third_party_network(run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("timm:resnet18", num_classes=3)
    asr.reparameterize(model, "layer*.bn2", "eca")
    described = {"model": "timm:resnet18", "num_classes": 3, "asr": {"where": "layer*.bn2", "attention": "eca"}}
    checkpoint.save(tmp_path / "a.safetensors", model, described)
    run("fuse", "--ckpt", "a.safetensors", "-o", "fused.safetensors", "--image-size", "32", "--images", "1")
    build("timm:resnet18", num_classes=3).load_state_dict(checkpoint.read("fused.safetensors").state_dict)


def test_a_users_own_model_has_to_be_named(run, tmp_path: Path) -> None:
    (tmp_path / "ours_with_norm.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    run_path = tmp_path / "a.safetensors"
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    asr.reparameterize(model, "1")
    checkpoint.save(run_path, model, {"model": "python:ours_with_norm:make", "asr": {"where": "1"}})
    refused = run("fuse", "--ckpt", "a.safetensors", "-o", "b.safetensors", code=1)
    assert "name it yourself with --model python:ours_with_norm:make" in refused.stderr
    run("fuse", "--ckpt", "a.safetensors", "-o", "b.safetensors", "--model", "python:ours_with_norm:make")
    assert list(checkpoint.read("b.safetensors").state_dict) == sorted(asr.fuse(model).state_dict())


def test_the_files_of_a_run_are_not_written_over(run, tmp_path: Path) -> None:
    path, _ = trained(tmp_path)
    folder = tmp_path / "runs" / "other"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    for name in ("best.safetensors", "checkpoints/epoch-0002.safetensors"):
        output = folder / name
        output.touch()
        result = run("fuse", "--ckpt", str(path), "-o", str(output), code=1)
        assert "is a file of the run in" in result.stderr
        assert output.stat().st_size == 0
    run("fuse", "--ckpt", str(path), "-o", str(folder / "fused.safetensors"))


@pytest.mark.parametrize("with_asr", [False, True])
def test_noise_is_fused_and_does_not_come_back(run, tmp_path: Path, with_asr: bool) -> None:
    torch.manual_seed(0)
    model = build("resnet11", num_classes=4).eval()
    settings = {"psi": "N1"} if with_asr else None
    if settings:
        asr.reparameterize(model, **settings)
    noise = {"factor": 0.8, "offset": 0.5, "std": 0.0}
    add_noise(model, **noise)
    meta = {**META, "attention": "none", "asr": settings, "noise": noise}
    checkpoint.save(tmp_path / "noisy.safetensors", model, meta)
    run("fuse", "--ckpt", "noisy.safetensors", "-o", "fused.safetensors")
    fused = checkpoint.read("fused.safetensors")
    assert fused.meta["noise_before"] == noise
    again = asr.restore(fused).eval()
    assert again.state_dict().keys() == build("resnet11").state_dict().keys()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


def test_compared_on_real_images(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the networks are fed are the data's own images, normalised as in training."""
    path, _ = trained(tmp_path)
    fed = []
    compare = asr.compare
    monkeypatch.setattr(
        asr, "compare", lambda net, fused, images, dtype: fed.append(images) or compare(net, fused, images, dtype)
    )
    run("fuse", "--ckpt", str(path), "-o", "f.safetensors", "--data", "shapes:train=20,test=12", "--images", "5")
    data = datasets.load("shapes:train=20,test=12", image_size=16)
    chosen = datasets.choose_images(data.test.labels, 5, 0)
    ((images, _),) = data.test.loader(5, indices=chosen)
    assert torch.equal(fed[0], data.normalize(images))


def test_what_cannot_be(run, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "plain.safetensors", build("resnet11"), {"model": "resnet11", "num_classes": 10})
    path, _ = trained(tmp_path)
    for arguments, message in [
        (["--ckpt", "plain.safetensors", "-o", "x.safetensors"], "neither ASR nor noise nor branches in it"),
        (["--ckpt", "no.safetensors", "-o", "x.safetensors"], "no.safetensors"),
        (["--ckpt", str(path), "-o", str(path)], "is the checkpoint itself"),
        (["--ckpt", str(path), "-o", "x.pth"], "is written as .safetensors"),
        (["--ckpt", str(path), "-o", "x.safetensors", "--pretrained"], "leave --pretrained away"),
        (["--ckpt", str(path), "-o", "x.safetensors", "--attention", "none"], "does not fit the model"),
    ]:
        assert message in run("fuse", *arguments, code=1).stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epoch-0007.safetensors", "plain.safetensors"]
