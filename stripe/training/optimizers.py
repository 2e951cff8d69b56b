"""The optimisers of a training and the schedule of their rates."""

from collections.abc import Sequence
from typing import Any

import torch

from stripe.training.recipe import Recipe

__all__ = ["Optimizers"]


class Optimizers:
    """All that moves a network's parameters, as if it were one optimiser; rates follow the recipe, step by step.

    Args:
        members: The optimisers. Each group of parameters keeps the ratio of its rate to the recipe's first rate.
        recipe: Whose schedule it is.
    """

    def __init__(self, members: Sequence[torch.optim.Optimizer], recipe: Recipe) -> None:
        self.members = list(members)
        self.recipe = recipe
        self._shares = [[group["lr"] / recipe.lr for group in member.param_groups] for member in self.members]
        self._epoch = self._steps = 1
        self._done = 0

    def begin(self, epoch: int, steps: int) -> None:
        """Set the rates of the first step of an epoch.

        Args:
            epoch: Which, from 1.
            steps: How many steps every epoch has.
        """
        self._epoch, self._steps, self._done = epoch, steps, 0
        self._set_rates()

    def _set_rates(self) -> None:
        """Set the rates of the next step; a torch schedule would cost a small network some per cent of a step."""
        rate = self.recipe.rate(self._epoch, self._done, self._steps)
        for member, shares in zip(self.members, self._shares, strict=True):
            for group, share in zip(member.param_groups, shares, strict=True):
                group["lr"] = rate * share

    def step(self) -> None:
        """Move all parameters; of a step that is not the epoch's first, the rates are set before."""
        if self._done:
            self._set_rates()
        self._done += 1
        for member in self.members:
            member.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for member in self.members:
            member.zero_grad(set_to_none)

    @property
    def learning_rate(self) -> float:
        """The recipe's rate at the step that was made last."""
        return float(self.param_groups[0]["lr"] / self._shares[0][0])

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of parameters of all members."""
        return [group for member in self.members for group in member.param_groups]

    @property
    def state(self) -> dict[Any, Any]:
        """The state of each parameter in its optimiser, such as the momentum."""
        return {parameter: remembered for member in self.members for parameter, remembered in member.state.items()}

    def state_dict(self) -> dict[str, Any]:
        """The state of a single optimiser as it is; of several, a list of their states."""
        states = [member.state_dict() for member in self.members]
        return states[0] if len(states) == 1 else {"optimizers": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the optimisers into a state that ``state_dict`` returned.

        Raises:
            ValueError: It is of other optimisers.
        """
        states = [state] if len(self.members) == 1 else state["optimizers"]
        for member, own in zip(self.members, states, strict=True):
            member.load_state_dict(own)
