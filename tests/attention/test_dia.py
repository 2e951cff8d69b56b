import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch

from stripe.attention import DIA, attention_factory
from stripe.errors import StripeError
from stripe.models import build


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def mlp(layers: torch.nn.Sequential, x: np.ndarray) -> np.ndarray:
    (w1, b1), (w2, b2) = (
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in (layers[0], layers[2])
    )
    return np.maximum(x @ w1.T + b1, 0) @ w2.T + b2


def lstm(module: DIA, squeezed: list[np.ndarray]) -> list[np.ndarray]:
    """The hidden state after each input (N, C)."""
    hidden = cell = np.zeros_like(squeezed[0])
    found = []
    for u in squeezed:
        i, f, g, o = np.split(mlp(module.cell.of_input, u) + mlp(module.cell.of_hidden, hidden), 4, axis=1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * sigmoid(cell)
        found.append(hidden)
    return found


def stage(length: int, channels: int = 8) -> list[DIA]:
    make = attention_factory("dia")
    modules = [make(channels).double() for _ in range(length)]
    assert all(isinstance(module, DIA) for module in modules)
    return modules  # type: ignore[return-value]


def test_the_state_goes_from_block_to_block() -> None:
    torch.manual_seed(0)
    modules = stage(3)
    maps = [torch.randn(2, 8, 3, 4, dtype=torch.float64) for _ in modules]
    expected = lstm(modules[0], [x.numpy().mean(axis=(2, 3)) for x in maps])
    for _ in range(2):  # nothing is left from a pass before
        for module, x, value in zip(modules, maps, expected, strict=True):
            np.testing.assert_allclose(module(x).detach().numpy(), x.numpy() * value[:, :, None, None], rtol=1e-12)
            # Asking again changes nothing.
            np.testing.assert_allclose(module.gate(x).detach().numpy()[:, :, 0, 0], value, rtol=1e-12)


def test_a_constant_goes_through_the_same_step() -> None:
    torch.manual_seed(0)
    first = stage(1)[0]
    psi = torch.randn(8, dtype=torch.float64)
    expected = lstm(first, [psi.numpy()[None]])[0][0]
    np.testing.assert_allclose(first.constant(psi).detach().numpy(), expected, rtol=1e-12)


def test_a_stage_shares_one_lstm_that_is_listed_once() -> None:
    model = build("resnet29", attention="dia")
    modules = [module for module in model.modules() if isinstance(module, DIA)]
    assert [(m.channels, m.after is not None) for m in modules] == [
        (c, later) for c in (64, 128, 256) for later in (False, True, True)
    ]
    assert all(later.after in (None, former) for former, later in pairwise(modules))
    owners = {name.split(".cell.")[0] for name in model.state_dict() if ".cell." in name}
    assert owners == {f"layer{stage}.0.attention_module" for stage in (1, 2, 3)}


def test_gradient_runs_through_the_whole_stage() -> None:
    torch.manual_seed(0)
    modules = stage(2)
    first = torch.randn(2, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    modules[0](first)
    modules[1](torch.randn(2, 8, 2, 2, dtype=torch.float64)).sum().backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_copies_have_an_lstm_of_their_own() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(*stage(2))
    x = torch.randn(2, 8, 2, 2, dtype=torch.float64)
    expected = model(x)  # leaves a state with a graph, which cannot be copied
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.nn.init.zeros_(model[0].cell.of_input[2].weight)
        torch.testing.assert_close(copied(x), expected)


def test_a_block_cannot_run_before_the_one_before_it() -> None:
    with pytest.raises(StripeError, match="the block before this one has not run"):
        stage(2)[1](torch.randn(2, 8, 2, 2, dtype=torch.float64))
