"""A training is, in every digit, the loop that one would write in plain PyTorch; in all modes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stripe import checkpoint
from stripe.asr import cached
from stripe.data import load, train_batches
from stripe.data.crops import mix
from stripe.training import Recipe, Run, train
from stripe.training.network import build, describe

SEED = 3
CASES = {
    "none": {"mode": "none"},
    "attention": {"mode": "attention", "attention": "se"},
    "asr": {"mode": "asr", "attention": "se"},
    "both, in two parts, averaged": {"mode": "both", "attention": "srm", "accumulate": 2, "ema": 0.5},
    "noise": {"mode": "attention", "attention": "se", "noise": (0.9, 0.1), "noise_random": 0.1},
}


@pytest.fixture(scope="module")
def data():
    return load("shapes:train=48,test=24", image_size=16)


@pytest.fixture(scope="module")
def recipe():
    """Two epochs of three steps; the rate drops after the first."""
    return Recipe(2, 16, 0.1, "step", (1,), 0.1, 0.9, 1e-4)


def floats(data, images):
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
    images = images.contiguous(memory_format=torch.channels_last)
    return (images.float() / 255 - mean) / std


def reference(data, recipe, *, accumulate=1, ema=None, **network):
    """Rows of train loss, train accuracy, test loss, test accuracy; and the weights that are scored."""
    torch.manual_seed(mix(SEED, 0))
    net = build(describe("resnet11", num_classes=10, **network)).to(memory_format=torch.channels_last)
    average = None
    if ema is not None:
        average = torch.optim.swa_utils.AveragedModel(
            net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(ema), use_buffers=True
        )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    rows = []
    for epoch, rate in ((1, 0.1), (2, 0.1 * 0.1)):
        torch.manual_seed(mix(SEED, epoch))
        optimizer.param_groups[0]["lr"] = rate
        net.train()
        losses, hits, seen = [], 0, 0
        for images, labels in train_batches(data.train, 16, seed=SEED, epoch=epoch, device=torch.device("cpu")):
            optimizer.zero_grad()
            sums = []
            for part in np.array_split(np.arange(len(labels)), accumulate):
                with cached():
                    logits = net(floats(data, images[part[0] : part[-1] + 1]))
                own = labels[part[0] : part[-1] + 1]
                loss = F.cross_entropy(logits, own)
                (loss * (len(own) / len(labels))).backward()
                sums.append(loss.detach() * len(own))
                hits += (logits.argmax(1) == own).sum().item()
            optimizer.step()
            if average is not None:
                average.update_parameters(net)
            losses.append(torch.stack(sums).sum().item())
            seen += len(labels)
        rows.append([math.fsum(losses) / seen, 100 * hits / seen, *score(average.module if average else net, data)])
    return rows, (average.module if average else net).state_dict()


@torch.no_grad()
def score(net: nn.Module, data) -> tuple[float, float]:
    net.eval()
    losses, hits = [], 0
    with cached():
        for images, labels in data.test.loader(16):
            logits = net(floats(data, images))
            losses.append((F.cross_entropy(logits, labels) * len(labels)).item())
            hits += (logits.argmax(1) == labels).sum().item()
    return sum(losses) / len(data.test), 100 * hits / len(data.test)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_digit_is_that_of_plain_pytorch(tmp_path, data, recipe, case):
    run: Run = train(
        tmp_path / "run", data, model="resnet11", recipe=recipe, select="test", seed=SEED, device="cpu", **case
    )
    rows, weights = reference(data, recipe, **case)
    columns = ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    assert run.metrics[columns].to_numpy().tolist() == rows
    assert run.metrics_file.read_text().splitlines()[0] == (
        "epoch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second,"
        "val_loss,val_accuracy"
    )
    saved = checkpoint.read(run.checkpoints[-1]).state_dict
    assert saved.keys() == weights.keys()
    assert all(torch.equal(saved[name], weights[name]) for name in weights)
