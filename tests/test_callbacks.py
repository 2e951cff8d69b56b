"""Attention in the logs of a training: TensorBoard and Lightning themselves, and a stand-in for Weights & Biases."""

import sys
import types

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from stripe.callbacks import AttentionLog, lightning_callback
from stripe.errors import StripeError


@pytest.fixture
def loader(images):
    return DataLoader(TensorDataset(images, torch.arange(len(images))), batch_size=4)


class Run:
    """What is documented of a run of Weights & Biases: ``log(data, step=None)``."""

    def __init__(self):
        self.logged = []

    def log(self, data, step=None):
        self.logged.append((dict(data), step))


@pytest.fixture
def wandb(monkeypatch):
    """The module, with ``Image``, which takes a figure of matplotlib among others."""
    module = types.ModuleType("wandb")
    module.Image = type("Image", (), {"__init__": lambda self, data: setattr(self, "data", data)})
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def expected(se_net, images):
    """The numbers of the gate, by their formulas."""
    se_net.eval()
    caught = []
    handle = se_net.att.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    with torch.no_grad():
        se_net(images)
        maps = caught[0].double()
        gate = se_net.att.gate(caught[0])[:, :, 0, 0].double().numpy()
    handle.remove()
    mean = gate.mean(0)
    size = (maps**2).mean((2, 3)).numpy()
    count = len(images)
    error = np.sqrt(count / (count - 1) * (size * (gate - mean) ** 2).sum() / (size * gate**2).sum())
    return {
        "attention/att/stripe_index": mean.var() / gate.var(),
        "attention/att/std": gate.std(0).mean(),
        "attention/att/output_error": error,
    }


def test_numbers_are_those_of_the_formulas(se_net, images, loader):
    run = Run()
    se_net.train()
    numbers = AttentionLog(se_net, loader, run, figures=()).record(3)
    assert se_net.training
    assert run.logged == [(numbers, 3)]
    assert numbers == pytest.approx(expected(se_net, images), rel=1e-4)


def test_figures_become_images_of_weights_and_biases(se_net, loader, wandb):
    run = Run()
    log = AttentionLog(se_net, loader, run, figures=["stripe", "spatial", "index"], prefix="gates")
    log.record(1)
    log.record(2)
    assert [step for _, step in run.logged] == [1, 2]
    data = run.logged[1][0]
    pictures = {name: value for name, value in data.items() if isinstance(value, wandb.Image)}
    assert set(pictures) == {"gates/stripe", "gates/index"}  # no attention is spatial
    assert all(isinstance(picture.data, Figure) for picture in pictures.values())
    assert "gates/att/stripe_index" in data


def test_tensorboard(se_net, images, loader, tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        AttentionLog(se_net, loader, [writer, run := Run()]).record(7)
    read = events.EventAccumulator(str(tmp_path))
    read.Reload()
    (value,) = read.Scalars("attention/att/output_error")
    assert (value.step, value.value) == (
        7,
        pytest.approx(expected(se_net, images)["attention/att/output_error"], rel=1e-4),
    )
    (picture,) = read.Images("attention/stripe")
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    assert len(run.logged) == 1


@pytest.fixture
def lightning():
    return pytest.importorskip("lightning.pytorch")


@pytest.fixture
def module(lightning, se_net):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = se_net

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _index):
            return self(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module()


def fit(lightning, module, loader, callback, logger, folder):
    trainer = lightning.Trainer(
        max_epochs=4,
        accelerator="cpu",
        devices=1,
        logger=logger,
        callbacks=[callback],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(module, loader)


def test_a_trainer_of_lightning_writes_into_tensorboard(lightning, module, loader, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger(tmp_path, name="")
    fit(lightning, module, loader, lightning_callback(loader, every=2), logger, tmp_path)
    read = events.EventAccumulator(logger.log_dir)
    read.Reload()
    steps = len(loader)  # of an epoch
    assert [event.step for event in read.Scalars("attention/net.att/stripe_index")] == [0, 2 * steps, 4 * steps]
    assert len(read.Images("attention/stripe")) == 3


def test_a_logger_that_takes_numbers_alone(lightning, module, loader, tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path, name="")
    fit(lightning, module, loader, lightning_callback(loader, every=4), logger, tmp_path)
    logger.save()
    text = next(tmp_path.rglob("metrics.csv")).read_text()
    assert "attention/net.att/output_error" in text


def test_a_logger_of_lightning_that_takes_images(se_net, loader):
    class Logger:
        """What is documented of ``WandbLogger``."""

        def __init__(self):
            self.experiment, self.numbers, self.images = Run(), {}, []

        def log_metrics(self, metrics, step=None):
            self.numbers[step] = metrics

        def log_image(self, key, images, step=None):
            self.images.append((key, len(images), step))

    logger = Logger()
    numbers = AttentionLog(se_net, loader, logger).record(5)
    assert logger.numbers == {5: numbers}
    assert logger.images == [("attention/stripe", 1, 5)]
    assert logger.experiment.logged == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": object()}, "object is no log"),
        ({"figures": "stripe"}, r"write \['stripe'\]"),
        ({"figures": ["diff"]}, "figures= takes stripe, std, .* not 'diff'"),
    ],
)
def test_what_is_no_log(se_net, loader, arguments, message):
    with pytest.raises(StripeError, match=message):
        AttentionLog(se_net, loader, **{"to": Run(), **arguments})


def test_every_epoch_at_most(loader):
    with pytest.raises(StripeError, match="every= is a number of epochs"):
        lightning_callback(loader, every=0)


def test_a_model_without_attention_is_refused(loader):
    with pytest.raises(StripeError, match="attention"):
        AttentionLog(nn.Identity(), loader, Run()).record(0)
