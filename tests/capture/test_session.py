import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from stripe.capture import CaptureSession, Epoch, capture, discover, open_capture, select_sites
from stripe.errors import StripeError
from tests.capture.test_file import in_child
from tests.conftest import LayerScale, Net, SpatialGate, SqueezeExcite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "capture.h5"


def loader(count: int = 10, batch_size: int = 4) -> DataLoader[tuple[Tensor, Tensor]]:
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(images, torch.arange(count) % 3), batch_size)


def all_images(batches: DataLoader[tuple[Tensor, Tensor]]) -> Tensor:
    return torch.cat([images for images, _ in batches])


def test_values_of_every_image(se_net: Net, path: Path) -> None:
    batches = loader()
    assert capture(se_net, batches, path, attrs={"model": "toy"}) == path
    tree = open_capture(path)
    with torch.no_grad():
        features = se_net.features(all_images(batches))
        gate = se_net.att.gate(features).flatten(1).numpy()
    # rtol: one batch of ten is not bit-identical to 4 + 4 + 2
    np.testing.assert_allclose(tree["sites/att/attention"][0], gate, rtol=1e-5)
    np.testing.assert_allclose(tree["sites/att/input"][0], features.mean((2, 3)).numpy(), rtol=1e-5)
    assert tree["label"].values.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert tree["thumbnail"].shape == (10, 8, 8, 3)
    assert tree.attrs["model"] == "toy"
    assert "command" in tree.attrs


def test_epochs_of_a_model_in_training(se_net: Net, path: Path) -> None:
    batches = loader()
    expected = []
    with CaptureSession(se_net.train(), batches, path, epochs=[1, 2], record_input=False, dtype="float16") as session:
        for epoch in (1, 2):
            with torch.no_grad():
                se_net.att.fc.bias.add_(1)
            session.record(epoch, learning_rate=0.1 / epoch)
            assert se_net.training
            se_net.eval()
            with torch.no_grad():
                expected.append(se_net.att.gate(se_net.features(all_images(batches))).flatten(1))
            se_net.train()
        assert session.completed == {1, 2}
    tree = open_capture(path)
    assert tree["learning_rate"].values.tolist() == [0.1, 0.05]
    assert "input" not in tree["sites/att"]
    assert tree["sites/att/attention"].dtype == "float16"
    np.testing.assert_allclose(tree["sites/att/attention"], torch.stack(expected).numpy(), atol=1e-3)


def test_batch_norm_statistics_are_not_touched(path: Path) -> None:
    model = Net(SqueezeExcite(4)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    capture(model, loader(), path)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_checkpoints_are_loaded_in_their_order_and_skipped_when_there(se_net: Net, path: Path) -> None:
    loaded = []

    def load(epoch: Epoch) -> float:
        loaded.append(epoch.number)
        nn.init.constant_(se_net.att.fc.weight, 0)
        nn.init.constant_(se_net.att.fc.bias, epoch.number)
        return 0.5

    capture(se_net, loader(), path, epochs=[Epoch(3), Epoch(1)], load=load)
    assert loaded == [1, 3]
    capture(se_net, loader(), path, epochs=[Epoch(3), Epoch(1), Epoch(2)], load=load)
    assert loaded == [1, 3, 2]
    attention = open_capture(path)["sites/att/attention"]
    expected = 1 / (1 + np.exp(-np.array([1.0, 2.0, 3.0])))
    np.testing.assert_allclose(attention.mean(("image", "channel")), expected, rtol=1e-6)


def test_preprocess_and_thumbnails_of_uint8_images(path: Path) -> None:
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    model = Net(SqueezeExcite(4)).eval()
    capture(model, DataLoader(TensorDataset(images), 2), path, preprocess=lambda x: x / 255)
    tree = open_capture(path)
    np.testing.assert_array_equal(tree["thumbnail"], images.permute(0, 2, 3, 1))
    assert tree["label"].values.tolist() == [-1] * 5
    with torch.no_grad():
        gate = model.att.gate(model.features(images / 255)).flatten(1)
    np.testing.assert_allclose(tree["sites/att/attention"][0], gate, rtol=1e-5)


def test_large_images_have_small_thumbnails(path: Path) -> None:
    images = torch.linspace(0, 1, 160).expand(2, 3, 80, 160)
    capture(Net(SqueezeExcite(4)), DataLoader(TensorDataset(images), 2), path)
    thumbnail = open_capture(path)["thumbnail"].values
    assert thumbnail.shape == (2, 32, 64, 3)
    assert (np.diff(thumbnail[0, 0, :, 0].astype(int)) >= 0).all()
    assert thumbnail.min() < 5
    assert thumbnail.max() > 250


def test_nan_is_recorded_as_it_is(path: Path) -> None:
    model = Net(SqueezeExcite(4)).eval()
    nn.init.constant_(model.att.fc.bias, float("nan"))
    capture(model, loader(), path)
    assert np.isnan(open_capture(path)["sites/att/attention"].values).all()


def test_shuffled_loader_is_refused(se_net: Net, path: Path) -> None:
    batches = loader(60, 60)
    shuffled = DataLoader(batches.dataset, 60, shuffle=True)
    with CaptureSession(se_net, shuffled, path, epochs=[0, 1]) as session:
        session.record(0)
        with pytest.raises(StripeError, match="don't shuffle"):
            session.record(1)
        assert session.completed == {0}


class Lying:
    """Announces another number of images than it gives."""

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images

    def __iter__(self) -> Iterator[Tensor]:
        yield torch.rand(4, 3, 8, 8)


@pytest.mark.parametrize("announced", [3, 5])
def test_loader_that_gives_another_number_of_images(se_net: Net, path: Path, announced: int) -> None:
    with pytest.raises(StripeError, match=f"the {announced}"):
        capture(se_net, Lying(announced), path)
    with pytest.raises(StripeError, match="no complete epoch"):
        open_capture(path)


def test_loaders_that_will_not_do(se_net: Net, path: Path) -> None:
    class Stream(IterableDataset[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            yield torch.rand(3, 8, 8)

    class Words(Dataset[str]):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> str:
            return "cat"

    with pytest.raises(StripeError, match="does not say how many"):
        capture(se_net, DataLoader(Stream(), 1), path)
    with pytest.raises(StripeError, match="gives no images"):
        capture(se_net, DataLoader(TensorDataset(torch.rand(0, 3, 8, 8)), 1), path)
    with pytest.raises(StripeError, match="must give images"):
        capture(se_net, DataLoader(Words(), 1), path)
    assert not path.exists()


def test_one_image(se_net: Net, path: Path) -> None:
    capture(se_net, loader(1), path)
    assert open_capture(path)["sites/att/attention"].shape == (1, 1, 4)


def test_model_without_a_site(path: Path) -> None:
    with pytest.raises(StripeError, match="no attention site"):
        capture(Net(nn.Identity()), loader(), path)
    with pytest.raises(StripeError, match="1 constant factors: att"):
        capture(Net(LayerScale(4)), loader(), path)
    assert not path.exists()


def test_choosing_sites() -> None:
    model = Net(nn.Sequential(SqueezeExcite(4), SpatialGate(), LayerScale(4)))
    found = discover(model, torch.rand(2, 3, 8, 8))
    assert [site.name for site in select_sites(found)] == ["att.0", "att.1"]
    assert [site.name for site in select_sites(found, "*.1")] == ["att.1"]
    with pytest.raises(StripeError, match=r"No site of the model fits 'layer.*'. It has att.0, att.1"):
        select_sites(found, "layer.*")


def test_killed_in_the_middle_of_an_epoch(se_net: Net, path: Path) -> None:
    """The same call completes what is missing."""
    batches = loader()
    epochs = [Epoch(0), Epoch(1), Epoch(2)]

    class Killer:
        num_images, passes = 10, 0

        def __iter__(self) -> Iterator[list[Tensor]]:
            self.passes += 1
            for index, batch in enumerate(batches):
                if self.passes == 3 and index == 2:  # discovery, epoch 0, then in epoch 1
                    signal.raise_signal(signal.SIGKILL)
                yield batch

    torch.set_num_threads(1)  # a fork has no other threads
    assert in_child(lambda: capture(se_net, Killer(), path, epochs=epochs)) == signal.SIGKILL
    torch.set_num_threads(2)
    assert open_capture(path)["epoch"].values.tolist() == [0]
    capture(se_net, batches, path, epochs=epochs)
    tree = open_capture(path)
    assert tree["epoch"].values.tolist() == [0, 1, 2]
    assert np.ptp(tree["sites/att/attention"].values, axis=0).max() < 1e-6


def test_other_weights_or_images_are_refused(se_net: Net, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A finished capture must not pass for one of something else."""
    capture(se_net, loader(), path)
    capture(se_net, loader(), path)
    assert "nothing was recorded" in caplog.text
    with pytest.raises(StripeError, match="with other weights"):
        capture(Net(SqueezeExcite(4)).eval(), loader(), path)
    darker = DataLoader(TensorDataset(all_images(loader()).flip(0), torch.arange(10) % 3), 4)
    with pytest.raises(StripeError, match="holds other images") as refused:
        capture(se_net, darker, path)
    capture(se_net, loader(), path)  # the file is free again, though the error is still held
    assert refused.value


def test_shuffled_images_of_one_class_are_noticed(se_net: Net, path: Path) -> None:
    images = all_images(loader(40, 40))
    shuffled = DataLoader(TensorDataset(images, torch.zeros(40).long()), 40, shuffle=True)
    with CaptureSession(se_net, shuffled, path, epochs=[0, 1]) as session:
        session.record(0)
        with pytest.raises(StripeError, match="don't shuffle"):
            session.record(1)


def test_file_that_holds_nothing_yet_is_made_anew(se_net: Net, path: Path) -> None:
    """After a first try that failed, the corrected command must not be refused."""

    def fail(epoch: Epoch) -> float:
        raise StripeError("the checkpoint does not fit")

    with pytest.raises(StripeError, match="does not fit"):
        capture(se_net, loader(), path, load=fail, attrs={"model": "wrong"})
    capture(se_net, loader(), path, attrs={"model": "right"})
    assert open_capture(path).attrs["model"] == "right"


def test_added_epochs_keep_what_the_file_says(se_net: Net, path: Path) -> None:
    names = [f"{i}.jpg" for i in range(10)]
    with CaptureSession(se_net, loader(), path, epochs=[0], attrs={"model": "toy", "seed": 3}, paths=names) as session:
        session.record(0)
    with CaptureSession(se_net, loader(), path, epochs=[0, 1]) as session:
        session.record(1)
    tree = open_capture(path)
    assert (tree.attrs["model"], tree.attrs["seed"]) == ("toy", 3)
    assert tree["path"].values.tolist() == names


def test_model_that_makes_a_constant_once_can_be_trained_afterwards(path: Path) -> None:
    class Lazy(Net):
        grid: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.grid is None:
                self.grid = torch.ones(4)
            return super().forward(x) @ torch.eye(10) + (self.features(x).mean((2, 3)) * self.grid).sum()

    model = Lazy(SqueezeExcite(4))
    with CaptureSession(model, loader(), path) as session:
        model.grid = None
        session.record(0)
    model.train()(torch.rand(2, 3, 8, 8)).sum().backward()
    assert model.conv.weight.grad is not None


def test_half_precision_models_take_ordinary_images(path: Path) -> None:
    capture(Net(SqueezeExcite(4)).bfloat16(), loader(), path)
    assert open_capture(path)["sites/att/attention"].dtype == "float32"


def test_wrong_arguments(se_net: Net, path: Path, tmp_path: Path) -> None:
    with pytest.raises(StripeError, match="float32 or float16, not as int8"):
        capture(se_net, loader(), path, dtype="int8")
    with pytest.raises(StripeError, match="2 paths for 10 images"):
        capture(se_net, loader(), path, paths=["a", "b"])
    with pytest.raises(StripeError, match="is a folder"):
        capture(se_net, loader(), tmp_path)
    with (
        CaptureSession(se_net, loader(), path, epochs=[1, 2]) as session,
        pytest.raises(StripeError, match="no room for epoch 5; it has 1, 2"),
    ):
        session.record(5)


def test_preprocessing_that_drops_images_is_refused(path: Path) -> None:
    with pytest.raises(StripeError, match="as many images as it is given: of 2 it makes 1"):
        capture(Net(SqueezeExcite(4)), loader(), path, preprocess=lambda images: images[1:])
    with pytest.raises(StripeError, match="it makes NoneType"):
        capture(Net(SqueezeExcite(4)), loader(), path, preprocess=lambda images: None)


def test_empty_batches_are_passed_over_and_lists_of_batches_taken(path: Path) -> None:
    images = torch.rand(5, 3, 8, 8)
    capture(Net(SqueezeExcite(4)).eval(), [images[:2], images[:0], images[2:]], path, epochs=[0])
    assert open_capture(path).sizes["image"] == 5


def test_what_cannot_be_captured_is_said(path: Path) -> None:
    with pytest.raises(StripeError, match="no epochs"):
        capture(Net(SqueezeExcite(4)), loader(), path, epochs=[])
    with pytest.raises(StripeError, match="meta device"):
        capture(Net(SqueezeExcite(4)).to("meta"), loader(), path)
    with pytest.raises(StripeError, match="is no network"):
        capture(lambda x: x, loader(), path)  # type: ignore[arg-type]
    with pytest.raises(StripeError, match="paths of the images must be texts"):
        capture(Net(SqueezeExcite(4)), loader(), path, paths=[1, 2, 3, 4, 5, 6])
