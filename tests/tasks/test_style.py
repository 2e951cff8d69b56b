"""Style transfer: losses by numpy, batches, pictures, resumption."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

from stripe import checkpoint
from stripe.adapter import batch_of
from stripe.data import Data, load
from stripe.data.paintings import draw_painting
from stripe.errors import StripeError
from stripe.models import build
from stripe.tasks import named
from stripe.tasks.options import StyleOptions
from stripe.tasks.style import StyleTransfer, read_style
from stripe.training import Compute, RunConfig, evaluate, recipe_for, train

CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def data() -> Data:
    return load("shapes:train=20,test=12", image_size=16)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classifier with weights at random."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("seen") / "seen.safetensors"
    model = build("resnet8-basic")
    checkpoint.save(path, model, {"model": "resnet8-basic", "num_classes": 10, "mean": [0.4] * 3, "std": [0.2] * 3})
    return str(path)


def task_of(seen: str, data: Data, model: nn.Module, **options: Any) -> StyleTransfer:
    task = StyleTransfer(StyleOptions(perceptual_ckpt=seen, style_size=32, **options))
    task.prepare(model, data, CPU)
    return task


class Features:
    """The first convolution of ``resnet8-basic`` and its normalisation, in numpy."""

    def __init__(self, path: str) -> None:
        state = checkpoint.read(Path(path)).state_dict
        self.weight = state["conv1.conv.weight"].double().numpy()
        scale = state["conv1.bn.weight"] / (state["conv1.bn.running_var"] + 1e-5).sqrt()
        self.scale = scale.double().numpy()
        self.shift = (state["conv1.bn.bias"] - state["conv1.bn.running_mean"] * scale).double().numpy()

    def __call__(self, images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Images (N, 3, H, W) in 0..1 → (N, 16, H, W)."""
        padded = np.pad((images - 0.4) / 0.2, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        maps: npt.NDArray[np.float64] = np.einsum("ncijkl,dckl->ndij", windows, self.weight)
        return maps * self.scale[:, None, None] + self.shift[:, None, None]


def grams(maps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    product: npt.NDArray[np.float64] = np.einsum("ncij,ndij->ncd", maps, maps) / maps[0].size
    return product


class Half(nn.Module):
    """Halves normalised images; a stand-in with an output that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(self.factor.detach()) * 1  # it writes into its input, as a network may


def test_losses_are_those_of_numpy(data: Data, seen: str) -> None:
    layer = "conv1"
    options = {"content_layer": layer, "style_layers": (layer,), "content_weight": 3.0, "style_weight": 50.0}
    task = task_of(seen, data, Half(), **options, tv_weight=7.0)
    images = next(iter(data.test.loader(3)))[0]
    styled = task.forward(Half(), batch_of(data.normalize(images)), None)

    of = Features(seen)
    mean, std = (np.array(values)[:, None, None] for values in (data.mean, data.std))
    before = images.double().numpy() / 255
    after = (before - mean) / std * 0.5 * std + mean
    picture = draw_painting("mosaic", size=32).double().numpy()[None] / 255
    content = 3 * np.square(of(after) - of(before)).mean((1, 2, 3))
    style = 50 * np.square(grams(of(after)) - grams(of(picture))).mean((1, 2))
    variation = np.abs(np.diff(after, axis=2)).sum((1, 2, 3)) + np.abs(np.diff(after, axis=3)).sum((1, 2, 3))
    expected = {"content": content, "style": style, "tv": 7 * variation / after[0].size}
    for name, values in expected.items():
        np.testing.assert_allclose(styled.losses[name].numpy(), values, rtol=2e-4, err_msg=name)
        assert float(task.losses(styled, None)[name]) == pytest.approx(values.mean(), rel=2e-4)


def test_several_layers_are_summed_up(data: Data, seen: str) -> None:
    model, images = Half(), next(iter(data.test.loader(3)))[0]
    layers = ("layer1.0", "layer2.0")
    both, *each = (
        task_of(seen, data, model, style_layers=chosen, style_weight=1.0)
        .forward(model, batch_of(data.normalize(images)), None)
        .losses["style"]
        for chosen in (layers, layers[:1], layers[1:])
    )
    torch.testing.assert_close(both, each[0] + each[1])


def test_the_style_loss_of_the_picture_itself_is_zero(data: Data, seen: str) -> None:
    class Picture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return data.normalize(draw_painting("rings", size=32)[None]).expand_as(x) * self.one

    task = StyleTransfer(StyleOptions(style="drawn:rings", style_size=32, perceptual_ckpt=seen))
    task.prepare(Picture(), data, CPU)
    styled = task.forward(Picture(), batch_of(torch.zeros(2, 3, 32, 32)), None)
    assert styled.losses["style"].max() < 1e-3  # times 1e10
    assert styled.losses["content"].min() > 1


def test_evaluation_gives_means_over_images(data: Data, seen: str) -> None:
    task = task_of(seen, data, Half())
    score = evaluate(Half(), data.test.loader(5), data, CPU, task=task)
    each = task.forward(Half(), batch_of(data.normalize(next(iter(data.test.loader(12)))[0])), None).losses
    assert score.content == pytest.approx(float(each["content"].mean()), rel=1e-5)
    assert score.style == pytest.approx(float(each["style"].mean()), rel=1e-5)
    assert score.loss == pytest.approx(score.content + score.style + score.tv, rel=1e-5)
    assert score.tv == 0


def test_batches_are_images_as_they_are_in_another_order(data: Data, seen: str) -> None:
    task = StyleTransfer(StyleOptions(perceptual_ckpt=seen))
    batches = task.batches(data.train, 8, seed=1, epoch=2, images_per_epoch=10)
    assert [len(labels) for _, labels in batches] == [8, 2]
    order = batches.indices
    assert len(set(order.tolist())) == 10
    images = torch.cat([part for part, _ in batches])
    (every, _), *_ = data.train.loader(20)
    assert torch.equal(images, every[order])
    again = task.batches(data.train, 8, seed=1, epoch=3, images_per_epoch=10)
    assert not np.array_equal(order, again.indices)
    shared = task.batches(data.train, 8, seed=1, epoch=2, images_per_epoch=10, share=lambda size: np.arange(1, size, 2))
    assert torch.equal(next(iter(shared))[0], images[:8][1::2])
    assert len(next(iter(shared))[1]) == 8


def annotated(kind: str, folder: Path) -> str:
    """The name of data with annotations: six images, one of which is another shape than the others."""
    if kind == "scenes":
        return "scenes:train=4,test=2"
    names = [f"{number}.png" for number in range(6)]
    (folder / "JPEGImages").mkdir()
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30 + 9 * (number == 2), 3), np.uint8)
        Image.fromarray(pixels).save(folder / "JPEGImages" / name)
    if kind == "voc":
        (folder / "Annotations").mkdir()
        box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
        for name in names:
            content = f"<annotation><filename>{name}</filename><object><name>dog</name>{box}</object></annotation>"
            (folder / "Annotations" / name).with_suffix(".xml").write_text(content)
        return f"voc:{folder}"
    images = [
        {"id": number, "file_name": name, "width": 30 + 9 * (number == 2), "height": 20}
        for number, name in enumerate(names)
    ]
    thing = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 7, 7], "area": 49, "iscrowd": 0}
    content = {"images": images, "annotations": [thing], "categories": [{"id": 1, "name": "dog"}]}
    (folder / "boxes.json").write_text(json.dumps(content))
    return f"coco:images={folder / 'JPEGImages'},annotations={folder / 'boxes.json'}"


@pytest.mark.parametrize("kind", ["scenes", "coco", "voc"])
def test_of_data_with_annotations_the_images_alone_are_taken(kind: str, tmp_path: Path, seen: str) -> None:
    data = load(annotated(kind, tmp_path), image_size=32)
    task, model = task_of(seen, data, Half(), pictures=1), Half()
    alone = task.needed(data)
    (images, _), *_ = (task.collate(*batch) for batch in task.batches(alone.train, 3, seed=0, epoch=1, workers=0))
    assert (images.shape, images.dtype) == ((3, 3, 32, 32), torch.uint8)
    score = evaluate(model, alone.test.loader(2, workers=0), alone, CPU, task=task)
    assert score.content > 0
    task.after_epoch(model, 1, tmp_path)
    with np.load(tmp_path / "pictures" / "last.npz") as last:
        assert last["content"].shape == last["made"].shape == (1, 32, 32, 3)


def test_frozen_statistics_no_longer_follow_the_batch(data: Data, seen: str) -> None:
    model = build("style", args={"norm": "bn", "width": 2, "blocks": 1})
    task = task_of(seen, data, model, freeze_norm=1)
    inputs = data.normalize(next(iter(data.test.loader(4)))[0])

    def outputs(epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        task.batches(data.train, 4, seed=0, epoch=epoch)
        model.train()
        return (
            task.forward(model, batch_of(inputs), None).images,
            task.forward(model, batch_of(inputs[:1]), None).images,
        )

    together, alone = outputs(1)
    assert not torch.allclose(together[:1], alone, atol=1e-4)
    before = model.get_buffer("in1.running_mean").clone()
    together, alone = outputs(2)
    torch.testing.assert_close(together[:1], alone)
    assert torch.equal(model.get_buffer("in1.running_mean"), before)
    assert model.get_parameter("in1.weight").requires_grad


def test_statistics_that_are_not_there_cannot_be_frozen(data: Data, seen: str) -> None:
    with pytest.raises(StripeError, match="freeze_norm=2: this StyleNetwork has no batch normalisation"):
        task_of(seen, data, build("style", args={"width": 2}), freeze_norm=2)


def test_a_network_that_makes_no_images_is_refused(data: Data, seen: str) -> None:
    model = build("resnet11")
    task = task_of(seen, data, model)
    with pytest.raises(StripeError, match="CifarResNet gives no image of the same size for an image"):
        task.forward(model, batch_of(torch.zeros(2, 3, 16, 16)), None)


def test_pictures_of_a_style(tmp_path: Path) -> None:
    assert torch.equal(read_style("drawn:rings:5", 64), draw_painting("rings", size=64, seed=5))
    assert read_style("drawn:strokes").shape == (3, 256, 256)
    Image.new("LA", (40, 20), (128, 7)).save(tmp_path / "grey.png")
    assert read_style(str(tmp_path / "grey.png"), 10).tolist() == torch.full((3, 10, 20), 128).tolist()
    with pytest.raises(StripeError, match="there is no drawn picture 'monet'"):
        read_style("drawn:monet")
    with pytest.raises(StripeError, match="there is no picture"):
        read_style("drawn")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(StripeError, match="cannot be read as an image"):
        read_style(str(tmp_path / "text.png"))


def test_a_run_by_its_settings(tmp_path: Path, data: Data, seen: str) -> None:
    """Trained on loose photos of several sizes, interrupted, gone on with; the same as without an interruption."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(12):
        pixels = np.random.default_rng(index).integers(0, 256, (20 + index, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    loose = load(f"folder:{photos}", image_size=16)
    config = RunConfig(
        "style",
        args={"norm": "bn", "width": 2, "blocks": 1},
        mode="asr",
        asr_start="alive",
        recipe=recipe_for("style", "folder:photos"),
        task_args={"perceptual_ckpt": seen, "style_size": 32, "pictures": 2},
    )
    assert config.task_name == "style"
    assert config.recipe is not None
    assert (config.recipe.algorithm, config.recipe.lr, config.recipe.weight_decay) == ("adamw", 1e-3, 0)
    whole = train(tmp_path / "whole", loose, config, workers=0)

    class Interrupted(Exception):  # noqa: N818
        pass

    def interrupt(metrics: Any) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        train(tmp_path / "parts", loose, config, workers=0, on_epoch=interrupt)
    parts = train(tmp_path / "parts", loose, config, workers=0)
    columns = [name for name in whole.metrics if name not in ("seconds", "images_per_second")]
    assert whole.metrics[columns].equals(parts.metrics[columns])
    assert {"train_content", "test_style", "val_tv"} <= set(columns)
    assert len(whole.metrics) == 2

    pictures = whole.path / "pictures"
    with Image.open(pictures / "epoch-0002.png") as sheet:
        assert sheet.size == (2 * 16, 2 * 16)
    with np.load(pictures / "last.npz") as last:
        assert last["made"].shape == last["content"].shape == (2, 16, 16, 3)
        assert last["content_loss"].shape == (2,)
        assert int(last["epoch"]) == 2
    said = whole.settings["task"]
    assert said["perceptual"]["style_layers"] == ["layer1.0", "layer2.0", "layer3.0"]
    assert said["perceptual"]["content_layer"] == "layer2.0"
    assert said["options"]["perceptual_ckpt"] == seen
    json.dumps(said)


def test_options_that_make_no_sense_are_refused(data: Data) -> None:
    with pytest.raises(StripeError, match=r"the task style has no option 'stile'; .* did you mean style"):
        named("style", data, {"stile": "drawn:rings"})
    with pytest.raises(StripeError, match=r"style_weight is -1\.0"):
        named("style", data, {"style_weight": -1.0})
