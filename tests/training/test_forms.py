"""Training and evaluation give the same in every mode, and for every form of outputs."""

import copy

import pytest
import torch
import torchvision
from torch import Tensor, nn

from stripe.data import Data
from stripe.training import Compute, evaluate
from stripe.training.epoch import train_epoch
from stripe.training.recipe import RESNET
from tests.foreign import MODES, OUTPUTS, WAYS, Se, ambient

CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    return [(torch.randint(0, 256, (6, 3, 16, 16)).byte(), torch.arange(6)) for _ in range(2)]


def trained(net: nn.Module, batches, data: Data, mode: str = "") -> tuple:
    """Scores before and after an epoch, and the loss in it."""
    net = copy.deepcopy(net)
    with ambient(mode):
        before = evaluate(net, batches, data, CPU)
        during = train_epoch(net, batches, RESNET.optimizer(net.parameters()), data, CPU, epoch=1)
        after = evaluate(net, batches, data, CPU)
    return (*before, *during[:2], *after)


@pytest.mark.parametrize("mode", MODES)
def test_in_every_mode(mode: str, batches, tiny_data: Data) -> None:
    assert trained(Se(), batches, tiny_data, mode) != trained(Se(), batches[:1], tiny_data)
    net = Se()
    assert trained(net, batches, tiny_data, mode) == pytest.approx(trained(net, batches, tiny_data), rel=1e-5)


@pytest.mark.parametrize("kind", [*OUTPUTS.values(), WAYS["InPlace"], WAYS["Checkpointed"]])
def test_every_form(kind: type[Se], batches, tiny_data: Data) -> None:
    net = kind()
    net.bn = nn.Identity()  # whose statistics a checkpoint takes twice
    usual = Se()
    usual.bn = nn.Identity()
    usual.load_state_dict(net.state_dict())
    wanted = trained(usual, batches, tiny_data)
    assert trained(net, batches, tiny_data) == pytest.approx(wanted, rel=1e-4)


def test_one_logit_is_the_binary_cross_entropy(batches, tiny_data: Data) -> None:
    net = Se().eval()
    net.fc = nn.Linear(4, 1)
    two = Data(**{**vars(tiny_data), "classes": ("no", "yes")})
    given = [(images, labels % 2) for images, labels in batches]
    found = evaluate(net, given, two, CPU)
    with torch.no_grad():
        logits = torch.cat([net(two.normalize(images))[:, 0] for images, _ in given])
    labels = torch.cat([labels for _, labels in given])
    loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    assert found.loss == pytest.approx(float(loss), rel=1e-5)
    assert found.accuracy == pytest.approx(100 * float(((logits > 0).long() == labels).float().mean()))
    assert found.top5 == 100
    train_epoch(net, given, RESNET.optimizer(net.parameters()), two, CPU, epoch=1)
    assert evaluate(net, given, two, CPU).loss < found.loss


def test_auxiliary_outputs_are_left_aside(tiny_data: Data) -> None:
    """GoogLeNet gives three outputs in training; the first is what it predicts."""
    output = torchvision.models.GoogLeNetOutputs(torch.tensor([[9.0] + 9 * [0.0]]), None, torch.zeros(1, 10))

    class Googled(nn.Conv2d):
        def forward(self, x: Tensor):
            return output._replace(logits=output.logits.expand(len(x), 10) + 0 * super().forward(x).mean())

    batches = [(torch.zeros(2, 3, 16, 16).byte(), torch.zeros(2).long())]
    net = Googled(3, 1, 1)
    assert train_epoch(net, batches, RESNET.optimizer(net.parameters()), tiny_data, CPU, epoch=1).accuracy == 100
