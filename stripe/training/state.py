"""From where a training goes on after it was interrupted."""

import io
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stripe.errors import StripeError
from stripe.files import write_whole
from stripe.training.metrics import EpochMetrics
from stripe.training.optimizers import Optimizers
from stripe.training.world import World

__all__ = ["load_state", "save_state"]


def save_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Optimizers,
    history: Sequence[EpochMetrics],
    average: nn.Module | None = None,
) -> None:
    """Write down the weights, the optimiser's memory and the epochs so far.

    No random state is needed: every epoch draws from (seed, epoch).

    Args:
        path: The file.
        model: In training.
        optimizer: Of that model.
        history: The epochs that were finished.
        average: The moving average of the model, where there is one.

    Raises:
        StripeError: The file cannot be written.
    """
    content = io.BytesIO()
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": [tuple(metrics) for metrics in history],
            "average": None if average is None else average.state_dict(),
        },
        content,
    )
    write_whole(path, content.getvalue())


def load_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Optimizers,
    average: nn.Module | None = None,
    world: World | None = None,
    row: type[EpochMetrics] = EpochMetrics,
) -> list[EpochMetrics]:
    """Put model and optimiser into the state that ``save_state`` wrote down.

    Args:
        path: The file; where there is none, nothing is changed.
        model: On the device where it is trained; changed in place.
        optimizer: Of that model; changed in place.
        average: The moving average of the model, where there is one; changed in place.
        world: The processes that go on together; the first one reads the file for all.
        row: What an epoch becomes, see ``stripe.training.metrics.row_of``.

    Returns:
        The epochs that were finished.

    Raises:
        StripeError: The file is damaged or is of another model.
    """
    try:
        content = path.read_bytes() if path.exists() else None
        if world:
            content = world.told(content)
        if content is None:
            return []
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        settings = [dict(group) for group in optimizer.param_groups]
        optimizer.load_state_dict(state["optimizer"])
        _check_optimizer(optimizer, settings)
        if average is not None:
            average.load_state_dict(state["average"])
        return [row(*map(operator.pos, metrics)) for metrics in state["history"]]  # which numbers alone have
    except Exception as error:  # a damaged file fails in many ways
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise StripeError(f"{path} is damaged: {reason}. Delete it to begin this run anew.") from error


def _check_optimizer(optimizer: torch.optim.Optimizer | Optimizers, settings: list[dict[str, Any]]) -> None:
    """Its groups have the settings that they had, and what it remembers of a parameter has the parameter's shape.

    torch compares neither.
    """
    for group, before in zip(optimizer.param_groups, settings, strict=True):
        if missing := set(before) - set(group):
            raise ValueError(f"its optimiser lacks {sorted(missing)[0]}")
    for parameter, remembered in optimizer.state.items():
        for name, value in remembered.items():
            if isinstance(value, torch.Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError(f"its {name} has shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
