"""Winning accuracy back with labels: some epochs in which the constants, and all other weights, are trained."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from stripe.asr import ASR, cached, fuse
from stripe.asr.layers import Scale
from stripe.attention import SE
from stripe.errors import StripeError
from stripe.fold.evaluation import check_labels
from stripe.fold.sample import Sample
from stripe.models.surgery import ConstantGate
from stripe.progress import track
from stripe.tasks import Classification, Task
from stripe.training.compute import Compute, Precision
from stripe.training.epoch import total_of

__all__ = ["Finetune", "finetune"]

PSI = 0.1

WHAT = "training images"


class _Labelled(Classification):
    """Classification of labels as users give them, which are checked."""

    def losses(self, output: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return super().losses(output, check_labels(targets, output, WHAT))


@dataclass(frozen=True)
class Finetune:
    """How to go on training.

    Attributes:
        batches: The training images and labels, gone through once an epoch; augmentation is theirs to do.
        epochs: How often. Functional dropout in a block whose gate stands in its own forward is off, see
            `stripe.models.surgery`.
        learning_rate: Of SGD with momentum 0.9, falling to 0 along a cosine.
        weight_decay: As of the paper's ResNets.
        precision: Of convolutions and matrix products; None: bfloat16 on GPUs that have it, else float32.
        asr: Whether a constant is v(ψ, θ) of SE (paper, section 3.2) while it is trained, else a free vector.
        task: What is minimised; default the cross-entropy. Images and labels are those of the batches as they are;
            `Task.collate` is not asked.
    """

    batches: Iterable[Any]
    epochs: int
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    precision: Precision | None = None
    asr: bool = True
    task: Task = field(default_factory=_Labelled)


def finetune(model: nn.Module, how: Finetune) -> None:
    """Train a network with constant gates, in place; afterwards they are constants again.

    An ASR begins with the value that the constant has: its last layer's bias is set to what its sigmoid takes there.

    Args:
        model: With `ConstantGate` modules.
        how: See `Finetune`.

    Raises:
        StripeError: There are no labels, or the training diverges.
    """
    for gate in [module for module in model.modules() if isinstance(module, ConstantGate)]:
        _make_learnable(gate, how.asr)
    batches = Sample(how.batches, model, WHAT)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learned, how.learning_rate, momentum=0.9, weight_decay=how.weight_decay)
    compute = Compute.on(batches.device, how.precision)
    steps = how.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    model.train()
    for epoch in range(1, how.epochs + 1):
        for batch, labels in track(batches, f"epoch {epoch} of {how.epochs}", total=len(batches)):
            if labels is None:
                raise StripeError("there are no labels to train with; give batches of (images, labels)")
            if len(batch) < 2:  # a rest, which batch normalisation cannot be trained on
                continue
            optimizer.zero_grad(set_to_none=True)
            with cached(), compute.autocast():
                own = batch.map(torch.clone)  # which the network may change
                output = how.task.forward(model, own, labels)
                loss = total_of(how.task.losses(output, labels))
            if not loss.isfinite():
                raise StripeError(f"the loss became {loss.item()} in epoch {epoch}; take a lower learning rate")
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    model.eval()
    fuse(model, inplace=True)


def _make_learnable(gate: ConstantGate, with_asr: bool) -> None:
    value = gate.weight.detach()
    if not with_asr or not bool(((value > 0) & (value < 1)).all()):  # what a sigmoid cannot give stays a free vector
        gate.weight.requires_grad_(True)
        return
    asr = asr_of(value)
    with torch.no_grad():
        gate.weight.fill_(1)
    register_parametrization(gate, "weight", Scale(asr, owner=True))


def asr_of(value: torch.Tensor) -> ASR:
    """An ASR of SE whose value v(ψ, θ) is the given one at first.

    Args:
        value: (C,), between 0 and 1.
    """
    attention = SE(len(value)).to(value.device, value.dtype)
    asr = ASR(attention, torch.full_like(value, PSI))
    last = [layer for layer in attention.modules() if isinstance(layer, nn.Linear)][-1]
    assert last.bias is not None
    with torch.no_grad():
        last.bias.add_(value.double().logit().to(value) - asr.value().double().logit().to(value))
    return asr
