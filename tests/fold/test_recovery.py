"""Winning back: what the statistics, biases and constants are afterwards."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stripe.errors import StripeError
from stripe.fold import Finetune, fold
from stripe.fold.evaluation import evaluate
from stripe.fold.finetuning import asr_of, finetune
from stripe.fold.recovery import correct_biases, reestimate, refit
from stripe.fold.sample import Sample
from stripe.fold.sites import find_foldable, put_gates
from stripe.models.surgery import ConstantGate
from stripe.tasks import Scoring, Task
from tests.conftest import InPlaceGate, Net, SqueezeExcite


class Deep(Net):
    """Behind the gate a convolution without bias, batch normalisation, and a linear layer."""

    def __init__(self) -> None:
        super().__init__(SqueezeExcite(4))
        self.conv2, self.bn2 = nn.Conv2d(4, 5, 3, bias=False), nn.BatchNorm2d(5)
        self.fc = nn.Linear(5, 10)

    def inner(self, x: Tensor) -> Tensor:
        return self.conv2(self.att(self.features(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.bn2(self.inner(x))).mean((2, 3)))


@pytest.fixture
def net() -> Deep:
    net = Deep().eval()
    nn.init.normal_(net.att.fc.weight, 0, 4)
    net.bn2.running_mean.normal_()
    return net


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(8, 3, 8, 8), torch.randint(0, 10, (8,))) for _ in range(3)]


def constant(net: Net, images: Tensor) -> Net:
    import copy

    places, _, _ = find_foldable(net, images)
    gated = copy.deepcopy(net)
    put_gates(gated, places, {"att": torch.tensor([0.9, 0.1, 0.5, 0.7])})
    return gated


@pytest.mark.parametrize("gate", [SqueezeExcite, InPlaceGate])
def test_constants_by_least_squares(gate: type[SqueezeExcite]) -> None:
    """Of each channel, over images and positions, as numpy solves it; where the map is zero the mean stays."""
    net = Net(gate(4)).eval()
    nn.init.normal_(net.att.fc.weight, 0, 4)
    nn.init.zeros_(net.bn.weight[3:])
    batches = [torch.randn(5, 3, 8, 8) + shift for shift in (0, 3)]
    gated = constant(net, batches[0])
    assert refit(gated, net, find_foldable(net, batches[0])[0], Sample(batches, net, "images")) == 1
    with torch.no_grad():
        maps = torch.cat([net.features(images) for images in batches]).double()
        products = maps * net.att.gate(maps.float()).double()
    for channel, value in enumerate(gated.att.weight[:3].tolist()):
        x, y = (values[:, channel].flatten().numpy() for values in (maps, products))
        assert value == pytest.approx(np.linalg.lstsq(x[:, None], y, rcond=None)[0][0], rel=1e-5)
    assert gated.att.weight[3] == pytest.approx(0.7)
    assert not net.att._forward_hooks
    assert not net.att._forward_pre_hooks


def test_batch_statistics_are_those_of_the_images(net: Deep, batches) -> None:
    gated = constant(net, batches[0][0])
    first = gated.bn.running_mean.clone()
    with torch.no_grad():
        maps = [gated.inner(images) for images, _ in batches]
    assert reestimate(gated, Sample(batches, gated, "images")) == 1
    torch.testing.assert_close(gated.bn2.running_mean, torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0))
    torch.testing.assert_close(gated.bn2.running_var, torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0))
    assert torch.equal(gated.bn.running_mean, first)  # in front of the gate nothing has changed
    assert gated.bn2.momentum == 0.1
    assert not gated.bn2.training


def test_the_next_layer_gets_its_mean_output_back(net: Deep, batches) -> None:
    gated = constant(net, batches[0][0])
    places, _, _ = find_foldable(net, batches[0][0])
    assert correct_biases(gated, net, places, Sample(batches, net, "images")) == 1
    images = torch.cat([images for images, _ in batches])
    with torch.no_grad():
        wanted, got = (model.bn2(model.inner(images)).mean((0, 2, 3)) for model in (net, gated))
    torch.testing.assert_close(got, wanted)
    assert not torch.allclose(gated.bn2.bias, net.bn2.bias)


def test_a_step_that_makes_it_worse_is_undone(net: Deep, batches) -> None:
    result = fold(net, [images for images, _ in batches], win_back=("batchnorm",))  # the statistics were far off
    step = result.steps.iloc[2]
    assert step["step"] == "batchnorm (1 layer)"
    assert not step["kept"]
    assert step["error"] > result.steps["error"].iloc[1]
    assert torch.equal(result.model.bn2.running_mean, net.bn2.running_mean)


def test_statistics_of_augmented_images(net: Deep, batches) -> None:
    """They are estimated over these, not over those that the means are taken of."""
    others = [(images + 1, labels) for images, labels in batches]
    result = fold(net, batches, held_out=others, win_back=("batchnorm",), augmented=others)
    step = result.steps.iloc[2]
    gated = constant(net, batches[0][0])
    images = torch.cat([images for images, _ in batches])
    with torch.no_grad():
        gated.att.weight.copy_(net.att.gate(net.features(images)).mean((0, 2, 3)))
    reestimate(gated, Sample(others, gated, "images"))
    assert step["loss"] == pytest.approx(evaluate(gated, Sample(others, gated, "images")).loss, rel=1e-4)


def test_a_step_is_measured_against_the_best_before(net: Deep, batches) -> None:
    """Not against one that was undone, which is easily surpassed."""
    steps = fold(net, [images for images, _ in batches], win_back=("batchnorm", "bias")).steps
    constants, batchnorm, bias = (steps.iloc[number] for number in (1, 2, 3))
    assert batchnorm["error"] > constants["error"]
    assert bias["kept"] == (bias["error"] <= constants["error"])


def test_asr_begins_with_the_constant() -> None:
    value = torch.tensor([0.01, 0.3, 0.5, 0.999])
    torch.testing.assert_close(asr_of(value).value(), value)


@pytest.mark.parametrize("asr", [True, False])
def test_constants_are_trained_and_are_constants_again(net: Deep, batches, asr: bool) -> None:
    gated = constant(net, batches[0][0])
    before = gated.att.weight.clone()
    finetune(gated, Finetune(batches, 2, learning_rate=0.1, asr=asr))
    assert isinstance(gated.att, ConstantGate)
    assert dict(gated.att.named_parameters()).keys() == {"weight"}
    assert not torch.allclose(gated.att.weight, before)
    assert not gated.training


def test_training_lowers_the_loss(net: Deep, batches) -> None:
    result = fold(net, batches, finetuning=Finetune(batches, 20, learning_rate=0.1))
    steps = result.steps.set_index("step")
    assert steps["loss"]["training for 20 epochs"] < steps["loss"]["constants"] - 0.1
    assert steps["loss"]["in the weights"] == pytest.approx(steps["loss"]["training for 20 epochs"], rel=1e-4)
    assert isinstance(result.model.att, nn.Identity)


def test_training_in_half_precision(net: Deep, batches) -> None:
    """The convolutions run in bfloat16, weights and the constant stay float32."""
    gated = constant(net, batches[0][0])
    seen = []
    gated.conv2.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    finetune(gated, Finetune(batches, 1, precision="bfloat16"))
    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in gated.parameters()} == {torch.float32}


def test_training_needs_labels(net: Deep, batches) -> None:
    with pytest.raises(StripeError, match="no labels to train with"):
        fold(net, batches, finetuning=Finetune([images for images, _ in batches], 1))


def test_training_that_diverges(net: Deep, batches) -> None:
    with pytest.raises(StripeError, match=r"the loss became .* in epoch 1; take a lower learning rate"):
        fold(net, batches, finetuning=Finetune(batches * 5, 1, learning_rate=1e30))


class Squares(Task):
    """The first output is to be a number that each image comes with."""

    name = "squares"
    scoring = Scoring(("loss",), best="loss", higher_is_better=False)

    def losses(self, output, targets):
        return {"square": (output[:, 0] - targets).square().mean()}

    def sums(self, output, targets, *, training):
        return torch.zeros(0)

    def score(self, loss, sums, images):
        raise AssertionError("fine-tuning scores nothing")


def test_training_for_a_task_of_one_s_own(net: Deep, batches: list[tuple[Tensor, Tensor]]) -> None:
    """The squared error falls, where a cross-entropy would have refused such labels."""
    targets = [(images, images.mean((1, 2, 3)) + 3) for images, _ in batches]
    gated = constant(net, batches[0][0])

    def error() -> float:
        with torch.no_grad():
            return sum(float((gated(images)[:, 0] - numbers).square().mean()) for images, numbers in targets)

    before = error()
    with pytest.raises(StripeError, match="numbers of classes are wanted"):
        finetune(gated, Finetune(targets, 1))
    finetune(gated, Finetune(targets, 3, 0.01, task=Squares()))
    assert error() < before / 2
