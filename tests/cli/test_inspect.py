import json
from pathlib import Path

import pytest

from stripe import checkpoint
from stripe.models.spec import AsrSpec, ModelSpec
from stripe.training.network import build


def test_model(run) -> None:
    sites = json.loads(run("inspect", "--model", "timm:seresnet18", "--format", "json", "--image-size", "64").stdout)
    assert len(sites) == 8
    assert sites[0] == {
        "name": "layer1.0.se",
        "kind": "channel",
        "shape": [64, 16, 16],
        "input_dependent": True,
        "owner": "SEModule",
    }


def test_own_model_with_attention(run) -> None:
    arguments = ["inspect", "--model", "resnet11", "--attention", "cbam"]
    sites = json.loads(run(*arguments, "--format", "json").stdout)
    assert [(site["name"], site["kind"], site["shape"]) for site in sites[:2]] == [
        ("layer1.0.attention_module.channel", "channel", [64, 32, 32]),
        ("layer1.0.attention_module.spatial", "spatial", [64, 32, 32]),
    ]
    assert "ChannelGate" in run(*arguments).output


def test_users_own_model(run, tmp_path) -> None:
    (tmp_path / "mymodel.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Block(nn.Module):\n"
        "    def forward(self, x):\n"
        "        gate = torch.sigmoid(x.mean((2, 3), keepdim=True))\n"
        "        return x * gate.expand_as(x)\n"
        "def make(width=4):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    arguments = ["inspect", "--model", "python:mymodel:make", "--model-arg", "width=6", "--image-size", "16"]
    assert json.loads(run(*arguments, "--format", "json").stdout) == [
        {"name": "1", "kind": "channel", "shape": [6, 14, 14], "input_dependent": True, "owner": "Block"}
    ]


def test_model_without_attention(run) -> None:
    result = run("inspect", "--model", "torchvision:resnet18", code=1)
    assert "torchvision:resnet18 has no attention site" in result.stderr
    assert result.stdout == ""
    assert json.loads(run("inspect", "--model", "torchvision:resnet18", "--format", "json", code=1).stdout) == []


def test_constant_factors_are_listed(run) -> None:
    result = run("inspect", "--model", "timm:convnext_atto", "--format", "json", code=1)
    sites = json.loads(result.stdout)
    assert sites
    assert not any(site["input_dependent"] for site in sites)
    assert "constant factors" in result.stderr
    shown = run("inspect", "--model", "timm:convnext_atto", code=1).stdout
    assert f"0 attention sites: none; {len(sites)} others" in shown


def test_wrong_use(run) -> None:
    assert "Give either a capture file or --model" in run("inspect", code=2).output
    assert "nowhere.h5" in run("inspect", "nowhere.h5", code=1).stderr
    assert "seresnet50" in run("inspect", "--model", "timm:seresnet5O", code=1).stderr


def test_a_capture_says_what_it_holds_of_each_site(run) -> None:
    old = Path(__file__).parents[1] / "first_release" / "run" / "capture.h5"
    sites = json.loads(run("inspect", str(old), "--format", "json").stdout)
    assert {site["recorded"] for site in sites} == {"attention, input"}
    assert not any(site["residual"] for site in sites)


RUN = Path(__file__).parents[1] / "first_release" / "run"


def test_a_checkpoint_says_its_network(run) -> None:
    checkpoint = str(next(RUN.rglob("best.safetensors")))
    of_flag = run("inspect", "--ckpt", checkpoint, "--format", "json").stdout
    assert {site["kind"] for site in json.loads(of_flag)} == {"channel"}
    assert run("inspect", checkpoint, "--format", "json").stdout == of_flag


@pytest.mark.parametrize(
    ("spec", "layers", "between"),
    [
        (ModelSpec("resnet11", asr=AsrSpec(), num_classes=3), 3, "layer1.0.bn3 to layer3.0.bn3"),
        (ModelSpec("style", asr=AsrSpec()), 15, "in1 to in5"),
        (
            ModelSpec("fcn:resnet11", asr=AsrSpec(), num_classes=3, args={"frozen_norm": True}),
            *(3, "backbone.layer1.0.bn3 to backbone.layer3.0.bn3"),
        ),
    ],
)
def test_the_layers_with_asr_are_counted(run, spec, layers, between) -> None:
    checkpoint.save(Path("it.safetensors"), build(spec), spec.to_meta())
    said = run("inspect", "it.safetensors", "--image-size", "32").output
    assert f"ASR is in {layers} layers, from" in said
    assert between in said
    assert "Frozen" not in said
    assert "stripe fuse --ckpt it.safetensors" in said


def test_a_run_stands_for_its_capture(run) -> None:
    assert run("inspect", str(RUN), "--format", "json").stdout == (
        run("inspect", str(RUN / "capture.h5"), "--format", "json").stdout
    )


def test_both_a_capture_and_a_checkpoint(run) -> None:
    assert "Give either" in run("inspect", str(RUN), "--ckpt", "x.pth", code=2).output


@pytest.mark.parametrize("name", ["mine.pkl", "notes.txt", "weights"])
def test_nobody_is_told_to_delete_a_file_of_another_kind(run, name: str) -> None:
    Path(name).write_bytes(b"\x80\x04the only copy")
    said = run("inspect", name, code=1).stderr
    assert "one of another kind" in said
    assert "delete" not in said
