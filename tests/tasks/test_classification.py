import math

import pytest
import torch
from torch import nn

from stripe.adapter import batch_of
from stripe.errors import StripeError
from stripe.tasks import CLASSES, Classification, Score

# Six classes; of the first image the right one is the highest logit, of the second the third, of the third the last.
LOGITS = torch.tensor([[9.0, 8, 7, 6, 5, 4], [9.0, 8, 7, 6, 5, 4], [9.0, 8, 7, 6, 5, 4]])
LABELS = torch.tensor([0, 2, 5])


def test_hits_are_counted_and_become_per_cents():
    assert CLASSES.sums(LOGITS, LABELS, training=True).tolist() == [1]
    assert CLASSES.sums(LOGITS, LABELS, training=False).tolist() == [1, 2]
    assert CLASSES.score(0.5, [1.0, 2.0], 4) == Score(0.5, 25.0, 50.0)
    assert math.isnan(CLASSES.score(0.5, [1.0], 4).top5)


def test_the_loss_is_the_mean_of_minus_the_log_of_the_probability():
    (loss,) = CLASSES.losses(LOGITS, LABELS).values()
    total = sum(math.exp(value) for value in range(4, 10))
    assert loss.item() == pytest.approx(sum(math.log(total) - value for value in (9, 7, 4)) / 3, rel=1e-6)


def test_label_smoothing_spreads_a_share_of_the_label_evenly():
    """Of ε = .3 over six classes each gets .05, so the right one has .75; the task itself stays as it is."""
    task = Classification(6)
    (loss,) = task.smoothed(0.3).losses(LOGITS, LABELS).values()
    total = math.log(sum(math.exp(value) for value in range(4, 10)))
    by_hand = [total - 0.7 * right - 0.05 * (9 + 8 + 7 + 6 + 5 + 4) for right in (9, 7, 4)]
    assert loss.item() == pytest.approx(sum(by_hand) / 3, rel=1e-6)
    assert task.losses(LOGITS, LABELS)["cross_entropy"] == CLASSES.losses(LOGITS, LABELS)["cross_entropy"]


def test_one_logit_is_yes_or_no_and_too_few_are_refused():
    model, batch = nn.Flatten(), batch_of(torch.tensor([[[[3.0]]], [[[-1.0]]]]))
    assert Classification(2).forward(model, batch, None).tolist() == [[-1.5, 1.5], [0.5, -0.5]]
    with pytest.raises(StripeError, match="2 classes apart, but the data has 10"):
        Classification(10).forward(model, batch, None)
