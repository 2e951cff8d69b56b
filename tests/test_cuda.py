"""What is computed on a GPU is what the CPU computes, within rounding."""

import copy
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import stripe
from stripe import asr, models
from stripe.attention import ATTENTION
from stripe.bench import measure
from stripe.capture import capture, open_capture
from stripe.cli import main
from stripe.data import load
from stripe.fold import WIN_BACK, Finetune, fold
from stripe.gradcam import gradcam
from stripe.training import RESNET, Recipe, Run, train

pytestmark = pytest.mark.cuda

GPU = "cuda"
TOLERANCE = 1e-4  # of sums in float32 that are taken in another order, relative to the largest value

# ASR takes a vector; spatial attention needs an image.
KAPPAS = [name for name, cls in ATTENTION.items() if cls.kind == "channel"]

OTHERS = {  # name → size of its images
    "timm:mobilenetv3_small_050": 64,
    "timm:regnety_002": 64,
    "timm:repvit_m0_9": 64,
    "torchvision:efficientnet_b0": 64,
}


@pytest.fixture(autouse=True)
def _full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32, which convolutions may use by default, has ten bits; with it a GPU would rightly differ."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


class Loader:
    """Two batches on the CPU, the second one smaller, as most loaders give them."""

    num_images = 7

    def __init__(self, size: int) -> None:
        images = torch.randn(7, 3, size, size, generator=torch.Generator().manual_seed(1))
        self.batches = [(images[:4], torch.arange(4)), (images[4:], torch.arange(3))]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def both(spec: str, attention: str = "none") -> tuple[nn.Module, nn.Module]:
    """The same network on the CPU and on the GPU; no normalisation begins at 0, which would hide what it follows."""
    network = models.build(spec, attention=attention).eval()
    for norm in network.modules():
        if isinstance(norm, _BatchNorm) and norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    return network, copy.deepcopy(network).to(GPU)


def outputs(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network(images.to(next(network.parameters()).device))
    return found.cpu()


def assert_close(found: Tensor, wanted: Tensor, tolerance: float = TOLERANCE) -> None:
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


@pytest.mark.parametrize(
    ("spec", "attention"), [*(("resnet20", name) for name in ATTENTION), *((name, "none") for name in OTHERS)]
)
def test_capture(tmp_path: Path, spec: str, attention: str) -> None:
    loader = Loader(OTHERS.get(spec, 32))
    trees = [
        open_capture(capture(network, loader, tmp_path / f"{number}.h5"))
        for number, network in enumerate(both(spec, attention))
    ]
    on_cpu, on_gpu = trees
    recorded = [node.path for node in on_cpu.subtree if "attention" in node.data_vars]
    assert recorded
    for path in recorded:
        for name in ("attention", "input"):
            xr.testing.assert_allclose(on_gpu[path][name], on_cpu[path][name], rtol=1e-3, atol=TOLERANCE)


@pytest.mark.parametrize(("spec", "size"), [("resnet20", 32), ("timm:mobilenetv3_small_050", 64)])
def test_gradcam(spec: str, size: int) -> None:
    on_cpu, on_gpu = (gradcam(network, Loader(size), target=2, maps=True) for network in both(spec))
    for name in ("map", "mean", "std"):
        np.testing.assert_allclose(on_gpu[name], on_cpu[name], atol=2e-3)


def trained(out: Path, device: str, recipe: Recipe, **settings: object) -> Run:
    """On the same few images, in the same order; the weights begin the same, since they are drawn on the CPU."""
    return train(out, load("shapes:train=40,test=12", image_size=16), recipe=recipe, device=device, **settings)  # type: ignore[arg-type]


ONE_EPOCH = replace(RESNET, batch_size=18, lr=0.01).scaled(1)


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "none"},
        *({"mode": "attention", "attention": name} for name in ("se", "cbam", "dia")),
        *({"mode": "asr", "attention": name} for name in ("se", "srm", "dia")),
        {"mode": "both", "attention": "se"},
        {"mode": "none", "model": "repvgg_a0"},
        {"mode": "asr", "attention": "se", "copies": 2, "psi": "N0.3", "psi_fixed": True},
        {"mode": "none", "noise": (1.2, 0.1), "noise_random": 0.1},
        {"attention": "se", "accumulate": 2, "ema": 0.9},
        {"attention": "se", "recipe": replace(ONE_EPOCH, algorithm="adamw", lr=1e-3)},
    ],
    ids=str,
)
def test_training_in_float32(tmp_path: Path, settings: dict[str, object]) -> None:
    settings = {"model": "resnet11", "recipe": ONE_EPOCH, "precision": "float32"} | settings
    on_cpu = trained(tmp_path / "cpu", "cpu", **settings).history[0]  # type: ignore[arg-type]
    on_gpu = trained(tmp_path / "gpu", GPU, **settings).history[0]  # type: ignore[arg-type]
    for name in ("train_loss", "val_loss", "test_loss"):
        assert getattr(on_gpu, name) == pytest.approx(getattr(on_cpu, name), rel=5e-3), name


@pytest.mark.parametrize("mode", ["none", "attention", "asr", "both"])
def test_training_in_the_precision_of_the_device(tmp_path: Path, mode: str) -> None:
    attention = "none" if mode == "none" else "se"
    gates = 4 if mode in {"attention", "both"} else 0
    run = trained(tmp_path / "run", GPU, ONE_EPOCH.scaled(2), mode=mode, attention=attention, capture=gates)
    assert len(run.history) == 2
    assert all(np.isfinite([epoch.train_loss, epoch.test_loss]).all() for epoch in run.history)
    if gates:
        assert open_capture(run.capture_file).sizes["epoch"] == 2


def test_a_training_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    settings = {"model": "resnet11", "attention": "se", "ema": 0.9, "capture": 4, "precision": "float32"}
    recipe = ONE_EPOCH.scaled(2)
    whole = trained(tmp_path / "whole", GPU, recipe, **settings)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "halves", GPU, recipe, on_epoch=interrupt, **settings)
    halves = trained(tmp_path / "halves", GPU, recipe, **settings)
    assert [epoch.test_loss for epoch in halves.history] == pytest.approx(
        [epoch.test_loss for epoch in whole.history], rel=5e-3
    )


@pytest.mark.parametrize("kappa", KAPPAS)
def test_fuse(kappa: str) -> None:
    """Put in on the CPU or on the GPU, fused there or here."""
    images = torch.randn(3, 3, 32, 32)
    on_cpu, on_gpu = both("resnet11")
    torch.manual_seed(2)
    asr.reparameterize(on_cpu, attention=kappa, psi="N0.5")
    torch.manual_seed(2)
    asr.reparameterize(on_gpu, attention=kappa, psi="N0.5")
    wanted = outputs(on_cpu, images)
    assert_close(outputs(on_gpu, images), wanted)
    fused = asr.fuse(on_gpu)
    assert {parameter.device.type for parameter in fused.parameters()} == {torch.device(GPU).type}
    assert fused.state_dict().keys() == models.build("resnet11").state_dict().keys()
    assert_close(outputs(fused, images), outputs(on_gpu, images), 1e-6)
    assert_close(outputs(fused.cpu(), images), wanted)


@pytest.mark.parametrize(
    ("spec", "attention"),
    [
        *(("resnet11", name) for name in ("se", "eca", "spa", "srm", "ie", "dia")),
        ("timm:mobilenetv3_small_050", "none"),
    ],
)
def test_fold(tmp_path: Path, spec: str, attention: str) -> None:
    loader = Loader(OTHERS.get(spec, 32))
    on_cpu, on_gpu = (fold(network, loader) for network in both(spec, attention))
    assert on_gpu.sites["folded"].tolist() == on_cpu.sites["folded"].tolist()
    assert on_gpu.sites["into"].tolist() == on_cpu.sites["into"].tolist()
    images = loader.batches[0][0]
    assert_close(outputs(on_gpu.model, images), outputs(on_cpu.model, images), 1e-3)
    on_gpu.save(tmp_path / "folded.safetensors", {"model": spec, "attention": attention})
    assert_close(outputs(stripe.load(tmp_path / "folded.safetensors"), images), outputs(on_gpu.model, images))


def test_folding_with_everything_that_wins_accuracy_back() -> None:
    loader = Loader(32)
    how = Finetune(loader, epochs=1)
    _, network = both("resnet20", "se")
    result = fold(network, loader, sequential=True, budget=100, frontier=True, win_back=WIN_BACK, finetuning=how)
    assert result.frontier is not None
    assert len(result.frontier) == 1 + len(result.sites)
    assert torch.isfinite(outputs(result.model, loader.batches[0][0])).all()


def test_speeds() -> None:
    table = measure(["resnet11", "resnet11+dia", "resnet11+asr(se)+fused"], batch_size=4, repeats=1, device=GPU)
    assert (table["images_per_second"] > 0).all()
    assert table["parameters"].tolist()[0] == table["parameters"].tolist()[2] == 127642
    assert table.attrs["device"].startswith(torch.device(GPU).type)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes its device; what one of them writes on a GPU another reads on the CPU."""
    monkeypatch.chdir(tmp_path)

    def call(command: str) -> str:
        result = CliRunner().invoke(main, command.split(), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    data, last = "--data shapes:train=40,test=12", "epoch-0001.safetensors"
    call(f"train --out se {data} --model resnet11 --attention se --epochs 1 --capture 4 --device {GPU}")
    call(f"train --out asr {data} --model resnet11 --mode asr --attention se --epochs 1 --device {GPU}")
    call(f"capture --ckpt se/checkpoints/{last} {data} --images 4 -o capture.h5 --device {GPU}")
    call(f"gradcam --ckpt se/checkpoints/{last} {data} --images 4 -o gradcam.h5 --device {GPU}")
    call(f"fold --ckpt se/checkpoints/{last} {data} --images 8 -o folded.safetensors --device {GPU}")
    call(f"fuse --ckpt asr/checkpoints/{last} -o fused.safetensors")
    for where in ("cpu", GPU):
        call(f"evaluate --ckpt fused.safetensors {data} --device {where}")
    call(f"bench --models resnet11,resnet11+se --batch-size 4 --repeats 1 -o speeds.csv --device {GPU}")
    with Path("speeds.csv").open() as file:
        assert [row["model"] for row in csv.DictReader(file)] == ["resnet11", "resnet11+se"]
