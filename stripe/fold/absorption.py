"""Parameters that take the constant of a gate, and how."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stripe.models.surgery import ConstantGate

__all__ = ["Absorption", "Placed", "Shift", "absorb", "tensor_of"]


@dataclass(frozen=True)
class Absorption:
    """A parameter that takes a constant.

    Attributes:
        layer: Path of its module.
        name: Its name there.
        labels: For each of its elements the number of the factor; the one after the last stands for no change.
    """

    layer: str
    name: str
    labels: Tensor


@dataclass(frozen=True)
class Shift:
    """A bias that takes what a layer makes of a constant that was added to its input.

    Attributes:
        layer: Path of its module.
        name: Its name there.
        weight: The weight that the constant is multiplied by, and which number it has for which of its elements.
    """

    layer: str
    name: str
    weight: Absorption


@dataclass
class Placed:
    """The parameters that together take a constant.

    Attributes:
        absorptions: All of them; each output's or each input's way ends in one.
        shifts: The biases that take what else is added to the map.
        positive: Whether on the way is something that only factors of at least 0 pass.
        residual: k of x + k x ⊙ v, which without the gate is x + k x, so that they take (1 + k v) / (1 + k). None
            where it is x ⊙ v alone.
    """

    absorptions: list[Absorption] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    positive: bool = False
    residual: float | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths of the modules, each once; of a parameter of the network itself its name."""
        return tuple(dict.fromkeys(each.layer or each.name for each in self.absorptions))

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """Path of the module and name of each of them."""
        scaled = [(each.layer, each.name) for each in self.absorptions]
        return scaled + [(each.layer, each.name) for each in self.shifts]

    def factor(self, constant: Tensor) -> Tensor:
        """What the layers take, for a gate's constant v."""
        return constant if self.residual is None else (1 + self.residual * constant) / (1 + self.residual)


def absorb(model: nn.Module, placed: Placed, gate: ConstantGate) -> None:
    """Take the constant of a gate into the parameters, in place.

    Args:
        model: The network.
        placed: The parameters.
        gate: The gate.
    """
    factor = placed.factor(gate.weight).flatten()
    factors = torch.cat([factor, factor.new_ones(1)])
    with torch.no_grad():
        for shift in placed.shifts:  # of the weights as they were
            assert gate.shift is not None
            added = torch.cat([gate.shift.flatten(), factor.new_zeros(1)])[shift.weight.labels]
            made = tensor_of(model, shift.weight.layer, shift.weight.name) * added
            tensor_of(model, shift.layer, shift.name).add_(made.flatten(1).sum(1))
        for absorption in placed.absorptions:
            tensor_of(model, absorption.layer, absorption.name).mul_(factors[absorption.labels])


def tensor_of(model: nn.Module, layer: str, name: str) -> Tensor:
    """A parameter or buffer, by the path of its module and its name there."""
    tensor: Tensor = getattr(model.get_submodule(layer), name)
    return tensor
